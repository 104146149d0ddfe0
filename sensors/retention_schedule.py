"""Keeps Dagster's history and the tables small: daily, and on until nothing is left to do."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.retention.overdue import TOO_MANY
from loosh_pipeline.settings import get_settings
from sensors.jobs import BY_SCHEDULE, held_up, retention

QUIET_HOUR_UTC = 3
"""Any would do: a validator that was off then makes up for it when it is on again."""
PAUSE_AFTER_FAILURE = timedelta(minutes=30)
STEPS = ("compacted_tables", "pruned_history")
"""Assets of the group `upkeep`. Each says as `finished` whether its last slice came to the end."""
BETWEEN_TRIES = timedelta(hours=1)


@dg.schedule(
    job=retention,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Once a day, and again every five minutes while something is left: removes what Dagster shows of old "
        "challenges, and packs tables of closed days into few files. Stopped, Dagster's history grows."
    ),
)
def retention_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    if reason := held_up(context.instance, retention.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    reason = _not_due(context.instance, datetime.now(UTC))
    return dg.RunRequest(tags=BY_SCHEDULE) if reason is None else dg.SkipReason(reason)


def _not_due(instance: dg.DagsterInstance, now: datetime) -> str | None:
    """Why nothing is to be done now."""
    done = {step: event for step in STEPS if (event := instance.get_latest_materialization_event(dg.AssetKey(step)))}
    if any(_left_something(event) for event in done.values()):
        return None
    if not done:
        return None
    last = datetime.fromtimestamp(min(event.timestamp for event in done.values()), UTC)
    if last > now:  # the clock was set back
        return None
    if last < _latest_quiet_hour(now) or (_too_many(instance) and now - last > BETWEEN_TRIES):
        return None
    return f"it was done at {last:%Y-%m-%d %H:%M} UTC; the next time is {QUIET_HOUR_UTC}:00 UTC"


def _too_many(instance: dg.DagsterInstance) -> bool:
    shown = instance.get_dynamic_partitions(CHALLENGES)
    return len(shown) > TOO_MANY * get_settings().retain_challenges


def _left_something(event: dg.EventLogEntry) -> bool:
    materialization = event.asset_materialization
    finished = None if materialization is None else materialization.metadata.get("finished")
    return finished is not None and finished.value is False


def _latest_quiet_hour(now: datetime) -> datetime:
    today = now.replace(hour=QUIET_HOUR_UTC, minute=0, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)

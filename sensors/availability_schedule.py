"""Keeps what miners say of themselves recent."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.lock import only_looking
from loosh_pipeline.settings import get_settings
from resources.store import Store
from sensors.jobs import UNFINISHED_RUNS, failed_within, newest_run, refresh_availability

PAUSE_AFTER_FAILURE = timedelta(minutes=5)


@dg.schedule(
    job=refresh_availability,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks for the miners again when that was longer ago than AVAILABILITY_REFRESH_S.",
)
def availability_schedule(
    context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    settings = get_settings()
    if reason := only_looking(settings.home):
        return dg.SkipReason(reason)
    last = newest_run(context.instance, refresh_availability.name)
    if last and last.dagster_run.status in UNFINISHED_RUNS:
        return dg.SkipReason(f"run {last.dagster_run.run_id} is looking")
    if failed_within(last, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(f"run {last.dagster_run.run_id} failed; the next follows {PAUSE_AFTER_FAILURE} after it")
    reason = _not_due(store, datetime.now(UTC), timedelta(seconds=settings.availability_refresh_s))
    return dg.RunRequest() if reason is None else dg.SkipReason(reason)


def _not_due(store: Store, now: datetime, refresh: timedelta) -> str | None:
    """Why nobody is to be looked for now."""
    newest = store.newest_availability()
    if newest is not None and now - newest.taken_at < refresh:
        return f"{len(newest.rows)} neurons were looked for {(now - newest.taken_at).total_seconds():.0f} s ago"
    subnet = store.newest_metagraph()
    if subnet is None:
        return "there is no metagraph yet that says where miners are"
    if not any(neuron.serves for neuron in subnet.neurons):
        return f"nobody serves on subnet {subnet.netuid} at block {subnet.block}"
    return None

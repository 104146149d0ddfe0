"""Keeps what miners say of themselves recent."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.settings import get_settings
from resources.store import Store
from sensors.jobs import BY_SCHEDULE, held_up, refresh_availability

PAUSE_AFTER_FAILURE = timedelta(minutes=5)


@dg.schedule(
    job=refresh_availability,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Every minute: asks all serving miners whether they are there, when that was longer ago than "
        "AVAILABILITY_REFRESH_S. Stopped, all who serve count as there."
    ),
)
def availability_schedule(
    context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    settings = get_settings()
    if reason := held_up(context.instance, refresh_availability.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    reason = _not_due(store, datetime.now(UTC), timedelta(seconds=settings.availability_refresh_s))
    return dg.RunRequest(tags=BY_SCHEDULE) if reason is None else dg.SkipReason(reason)


def _not_due(store: Store, now: datetime, refresh: timedelta) -> str | None:
    """Why nobody is to be looked for now."""
    newest = store.newest_availability()
    if newest is not None and now - newest.taken_at < refresh:
        age_s = (now - newest.taken_at).total_seconds()
        every = f"that is done every {refresh.total_seconds():g} s (AVAILABILITY_REFRESH_S)"
        return f"{len(newest.rows)} neurons were looked for {age_s:.0f} s ago; {every}"
    subnet = store.newest_metagraph()
    if subnet is None:
        return "there is no metagraph yet that says where miners are"
    if not any(neuron.serves for neuron in subnet.neurons):
        return f"nobody serves on subnet {subnet.netuid} at block {subnet.block}"
    return None

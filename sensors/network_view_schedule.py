"""Keeps what the network thinks of its hotkeys recent."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.settings import get_settings
from resources.store import Store
from sensors.jobs import BY_SCHEDULE, held_up, newest_run, refresh_network_view

PAUSE_AFTER_FAILURE = timedelta(minutes=10)
"""An API that is away for hours must not fill the history with failed runs."""
HALF_A_TICK = timedelta(seconds=30)


@dg.schedule(
    job=refresh_network_view,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Every minute: asks the Challenge API what it thinks of the subnet's hotkeys, when that was longer ago than "
        "NETWORK_VIEW_REFRESH_S. Stopped, the last view stands."
    ),
)
def network_view_schedule(
    context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    settings, now = get_settings(), datetime.now(UTC)
    if settings.challenge_api_url is None:
        return dg.SkipReason("CHALLENGE_API_URL is not set, so nobody can be asked")
    if reason := held_up(context.instance, refresh_network_view.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    last = newest_run(context.instance, refresh_network_view.name)
    # By the run and not by what is stored: a view of nobody is a view, too.
    refresh = timedelta(seconds=settings.network_view_refresh_s)
    if last and now - last.create_timestamp < refresh - HALF_A_TICK:
        age_s = (now - last.create_timestamp).total_seconds()
        every = f"that is done every {refresh.total_seconds():g} s (NETWORK_VIEW_REFRESH_S)"
        return dg.SkipReason(f"run {last.dagster_run.run_id} asked {age_s:.0f} s ago; {every}")
    if not store.tables.days("metagraph"):
        return dg.SkipReason("no metagraph is stored yet, so nobody is known to be asked about")
    return dg.RunRequest(tags=BY_SCHEDULE)

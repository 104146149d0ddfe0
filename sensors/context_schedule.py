"""Keeps the scoring context recent."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.settings import get_settings
from resources.store import Store
from sensors.jobs import BY_SCHEDULE, held_up, refresh_context

PAUSE_AFTER_FAILURE = timedelta(hours=1)
FIRST_LOOKBACK = timedelta(days=30)


@dg.schedule(
    job=refresh_context,
    cron_schedule="*/10 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Every ten minutes: takes word weights and background again when they are older than CONTEXT_REFRESH_H, or "
        "when there are twice as many rounds. Stopped, rounds are compared with the last ones."
    ),
)
def context_schedule(
    context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    settings, now = get_settings(), datetime.now(UTC)
    if reason := held_up(context.instance, refresh_context.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    reason = _not_due(store, now, timedelta(hours=settings.context_refresh_h))
    return dg.RunRequest(tags=BY_SCHEDULE) if reason is None else dg.SkipReason(reason)


def _not_due(store: Store, now: datetime, refresh: timedelta) -> str | None:
    """Why no new context is needed. The first waits for enough rounds; then one of twice as many is worth having."""
    newest = store.score_tables.newest_context()
    if newest is None:
        enough = RobustProfile().context_rounds
        scored = store.inbox.scored_since(now - FIRST_LOOKBACK, enough)
        return None if scored >= enough else f"{scored} rounds are scored; a context is taken from {enough} on"
    built_at, rounds = newest["built_at"][0], newest["rounds"][0]
    since = store.inbox.scored_since(built_at, rounds)
    if since >= rounds or (since and now - built_at >= refresh):
        return None
    return (
        f"the context of {rounds} rounds is {(now - built_at).total_seconds() / 3600:.1f} h old, {since} rounds since; "
        f"the next is taken at {refresh.total_seconds() / 3600:g} h (CONTEXT_REFRESH_H), or after {rounds} rounds"
    )

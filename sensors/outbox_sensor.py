"""Keeps telling the Challenge API what it could not be told at once."""

from datetime import UTC, datetime

import dagster as dg

from loosh_pipeline.delivery import deliver_due
from loosh_pipeline.lock import only_looking
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.outbox import Outbox, OutboxState
from loosh_pipeline.wire.challenge_api_client import ChallengeApi
from resources.store import Store


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Every 10 s: tells the Challenge API what it could not be told at once, with growing pauses, until it is "
        "delivered or refused. It never asks for a run: its skip reasons say what was done. Stopped, what was not "
        "delivered waits."
    ),
)
def outbox_sensor(store: dg.ResourceParam[Store], challenge_api: dg.ResourceParam[ChallengeApi]) -> dg.SkipReason:
    if reason := only_looking(get_settings().home):
        return dg.SkipReason(reason)
    now = datetime.now(UTC)
    if not store.outbox.has_due(now):
        store.outbox.forget(now)
        return dg.SkipReason(_nothing_due(store.outbox))
    tally = deliver_due(store.outbox, challenge_api, lambda: datetime.now(UTC))
    done = ", ".join(f"{status.value} {count}" for status, count in sorted(tally.items()))
    return dg.SkipReason(done or "what was due is being told by a run just now")


def _nothing_due(outbox: Outbox) -> str:
    waiting = outbox.undelivered_counts()
    said = f"nothing is due; waiting {waiting[OutboxState.PENDING]}, refused {waiting[OutboxState.PARKED]}"
    tried = outbox.waiting(1) if waiting[OutboxState.PENDING] else ()
    return said + "".join(
        f"; the next is tried at {each.next_attempt_at:%H:%M:%S} UTC: {each.detail}" for each in tried
    )

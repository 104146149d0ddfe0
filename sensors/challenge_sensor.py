"""The guarantee that whatever was accepted is evaluated.

The ingress asks for a run the moment a challenge is committed; this sensor launches whatever that missed, and
gives another run to a challenge whose run died. The inbox row decides, so no process needs to remember anything.
Of a challenge that is given up the network is told that nothing came of it.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
from sqlalchemy import Connection

from assets.challenges import challenge_partitions
from loosh_pipeline.delivery import nothing_of
from loosh_pipeline.errors import WireError
from loosh_pipeline.lock import only_looking
from loosh_pipeline.orchestrator import ATTEMPT_TAG, PARTITION_TAG, SCORE_JOB
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.outbox import keep_first_result
from loosh_pipeline.wire.crypto import Signer
from resources.store import Store
from sensors.jobs import UNFINISHED_RUNS, score_challenge

logger = logging.getLogger(__name__)

BATCH = 25


@dg.sensor(
    job=score_challenge,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Launches one run for every accepted challenge that has none, and another when a run died.",
)
def challenge_sensor(
    context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store], signer: dg.ResourceParam[Signer]
) -> dg.SensorResult | dg.SkipReason:
    if reason := only_looking(get_settings().home):
        return dg.SkipReason(reason)
    now = datetime.now(UTC)
    recovered = _recover(store.inbox, signer.ss58_address, context.instance, get_settings(), now)
    due = store.inbox.due(now, BATCH)
    claimed = [(row, attempt) for row in due if (attempt := store.inbox.claim(row.id, now)) is not None]
    for line in recovered:
        context.log.warning(line)
    if not claimed:
        return dg.SkipReason("every accepted challenge is being evaluated or done")
    return dg.SensorResult(
        run_requests=[_request(row, attempt) for row, attempt in claimed],
        dynamic_partitions_requests=[challenge_partitions.build_add_request([row.id for row, _ in claimed])],
    )


def _request(row: InboxRow, attempt: int) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"{row.id}:{attempt}", partition_key=row.id, tags={ATTEMPT_TAG: str(attempt)})


def _recover(
    inbox: Inbox, validator: str, instance: dg.DagsterInstance, settings: Settings, now: datetime
) -> Sequence[str]:
    """Schedule another run for challenges that stopped moving and have no live run; says what it did."""
    lines = []
    for row in inbox.stalled(now - timedelta(seconds=settings.stalled_after_s), BATCH):
        runs = instance.get_runs(
            dg.RunsFilter(job_name=SCORE_JOB, tags={PARTITION_TAG: row.id}), limit=1 + row.attempts
        )
        if any(run.status in UNFINISHED_RUNS for run in runs):
            inbox.seen_alive(row, now)
            continue
        last = f"its last run ended as {runs[0].status.value}" if runs else "its run was never created"
        reason = f"{last} ({runs[0].run_id})" if runs else last
        state = inbox.retry(row, reason, now, settings.max_run_attempts, partial(_tell_nothing, row, validator, now))
        lines.append(f"challenge {row.id} stopped at {row.state} after attempt {row.attempts}: {reason}; now {state}")
    return lines


def _tell_nothing(row: InboxRow, validator: str, now: datetime, connection: Connection) -> None:
    """Keep an empty result of a challenge that is given up. What this release cannot read is given up untold."""
    try:
        payload = nothing_of(row.challenge(), validator)
    except (ValueError, WireError) as error:
        logger.warning("the network is told nothing of challenge %s, which cannot be read: %s", row.id, error)
    else:
        keep_first_result(connection, row.id, payload, now)

"""The guarantee that whatever was accepted is evaluated.

The ingress asks for a run the moment a challenge is committed and there is room; this sensor launches whatever that
missed, and gives another run to a challenge whose run died. The inbox row decides, so no process needs to remember
anything. Of a challenge that is given up the network is told that nothing came of it.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
from sqlalchemy import Connection

from assets.challenges import challenge_partitions
from loosh_pipeline.delivery import nothing_of
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.errors import WireError
from loosh_pipeline.lock import only_looking
from loosh_pipeline.orchestrator import BACKFILL_TAG, PARTITION_TAG, SCORE_JOB
from loosh_pipeline.run_tags import ATTEMPT_TAG, attempt_tags
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.outbox import keep_first_result
from loosh_pipeline.store.runs import Claim, Queue
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.workers.room import free_children
from resources.store import Store
from sensors.jobs import UNFINISHED_RUNS, score_challenge

logger = logging.getLogger(__name__)

BATCH = 25
GRACE_S = 10.0
"""How long what is due is left to the ingress, where it launches."""
LATELY = timedelta(minutes=10)
"""Runs that died longer ago are found as challenges that do not move."""
MOST_DEAD = 200
UNSUBMITTED_S = 60.0
"""A run that was created and not handed to anyone for so long never will be: whoever created it was killed."""
STUCK_S = 60.0
"""A run that has been starting, or being cancelled, for so long beyond its limit is one that monitoring cannot end."""
DEAD = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    job=score_challenge,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Every 5 s: launches a run for every accepted challenge that still has none, and another when a run died. The "
        "ingress launches most at once; this is the guarantee that none is left. Stopped, what that missed waits."
    ),
)
def challenge_sensor(
    context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store], signer: dg.ResourceParam[Signer]
) -> dg.SensorResult | dg.SkipReason:
    settings, now = get_settings(), datetime.now(UTC)
    if reason := only_looking(settings.home):
        return dg.SkipReason(reason)
    for line in (
        *_end_stuck(context.instance, now),
        *_recover(store, signer.ss58_address, context.instance, settings, now),
    ):
        context.log.warning(line)
    waited_s = GRACE_S if settings.dagster_url else 0.0
    queue = store.runs.queue(now, waited_s)
    limit = min(BATCH, free_children(settings, store.inbox.engine))
    claims = store.runs.claim(now, settings.max_concurrent_runs, limit, waited_s) if queue.due else []
    if not claims and queue.due:
        return dg.SkipReason(_no_room(store.inbox, queue, settings))
    if not claims:
        return dg.SkipReason(_nothing_due(store.inbox, queue, now, waited_s))
    return dg.SensorResult(
        run_requests=[_request(claim, now) for claim in claims],
        dynamic_partitions_requests=[challenge_partitions.build_add_request([claim.id for claim in claims])],
    )


def _no_room(inbox: Inbox, queue: Queue, settings: Settings) -> str:
    waiting = inbox.waiting().get(ChallengeState.RECEIVED, 0)
    most = settings.max_concurrent_runs
    full = f"MAX_CONCURRENT_RUNS is {most}" if queue.in_flight >= most else "no worker process is free"
    return f"{queue.in_flight} challenges are in flight, and {full}; {waiting} others wait until there is room"


def _nothing_due(inbox: Inbox, queue: Queue, now: datetime, waited_s: float) -> str:
    """Said at almost every tick: the queue itself, and nothing that grows, is read for it."""
    said = f"nothing is due: {queue.in_flight} challenges are being evaluated, the others are done"
    if not queue.waits or (next_at := inbox.oldest_waiting()) is None:
        return said
    due = "was" if next_at <= now else "is"
    until = f", and is the ingress's until {next_at + timedelta(seconds=waited_s):%H:%M:%S}" if waited_s else ""
    return f"{said} or wait; the next {due} due at {next_at:%H:%M:%S} UTC{until}"


def _request(claim: Claim, now: datetime) -> dg.RunRequest:
    """Dagster launches a key once, for ever; attempts are counted anew when a challenge is taken up that was parked."""
    key = f"{claim.id}:{claim.attempt}:{now.timestamp():.6f}"
    return dg.RunRequest(run_key=key, partition_key=claim.id, tags=attempt_tags(claim.attempt, "sensor"))


def _end_stuck(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """End runs, of any job, that run monitoring cannot: a loss of power took the events that say since when they start.

    Says which, and which could not be ended: that is tried again at the next tick.
    """
    limits_s, lines = _limits_s(instance), []
    for run in stuck_runs(instance, now):
        try:
            instance.report_run_failed(run, f"it was {run.status.value} for more than {limits_s[run.status]:.0f} s")
        except Exception as error:  # whatever its storage says of one run, the others go on
            lines.append(f"run {run.run_id} is stuck as {run.status.value} and cannot be ended: {error!r}")
        else:
            lines.append(f"run {run.run_id} was stuck as {run.status.value} and is ended")
    return lines


def stuck_runs(instance: dg.DagsterInstance, now: datetime) -> list[dg.DagsterRun]:
    """Runs of any job that have not changed for longer than their status allows."""
    return [
        run
        for status, limit_s in _limits_s(instance).items()
        for run in instance.get_runs(
            dg.RunsFilter(statuses=[status], updated_before=now - timedelta(seconds=limit_s)), limit=BATCH
        )
    ]


def _limits_s(instance: dg.DagsterInstance) -> dict[dg.DagsterRunStatus, float]:
    """After how many seconds without a change a run of such a status is stuck."""
    return {
        dg.DagsterRunStatus.STARTING: instance.run_monitoring_start_timeout_seconds + STUCK_S,
        dg.DagsterRunStatus.CANCELING: instance.run_monitoring_cancel_timeout_seconds + STUCK_S,
    }


def _recover(
    store: Store, validator: str, instance: dg.DagsterInstance, settings: Settings, now: datetime
) -> Sequence[str]:
    """Schedule another run for challenges whose run ended without scores or that stopped moving; says what it did."""
    inbox, lines = store.inbox, []
    stalled = inbox.stalled(now - timedelta(seconds=settings.stalled_after_s), BATCH, now)
    died = _died_lately(store, instance, now)
    for row in {row.id: row for row in (*stalled, *died)}.values():
        try:
            lines += _recover_one(row, inbox, validator, instance, settings, now)
        except Exception as error:  # whatever is wrong with this one, the others are recovered
            logger.exception("challenge %s cannot be recovered", row.id)
            lines.append(f"challenge {row.id} cannot be recovered now: {error!r}")
    return lines


def _recover_one(
    row: InboxRow, inbox: Inbox, validator: str, instance: dg.DagsterInstance, settings: Settings, now: datetime
) -> list[str]:
    records = instance.get_run_records(
        dg.RunsFilter(job_name=SCORE_JOB, tags={PARTITION_TAG: row.id}), limit=1 + row.attempts
    )
    if any(_gets_it_further(record, row, instance, now) for record in records):
        inbox.seen_alive(row, now)
        return []
    reason = _said_of(records)
    state = inbox.retry(row, reason, now, settings.max_run_attempts, partial(_tell_nothing, row, validator, now))
    return [f"challenge {row.id} stopped at {row.state} after attempt {row.attempts}: {reason}; now {state}"]


def _died_lately(store: Store, instance: dg.DagsterInstance, now: datetime) -> Sequence[InboxRow]:
    """Challenges in flight whose newest attempt is known to have died: they need not stand still first."""
    attempts = {(run.tags.get(PARTITION_TAG), run.tags.get(ATTEMPT_TAG)) for run in dead_runs(instance, now)}
    rows = store.runs.unscored([key for key, attempt in attempts if key and attempt]) if attempts else []
    return [row for row in rows if (row.id, str(row.attempts)) in attempts]


def dead_runs(instance: dg.DagsterInstance, now: datetime) -> list[dg.DagsterRun]:
    """Runs of challenges that died lately."""
    # Not asked for by job: Dagster's storage would look for the dead among all runs that the job ever had.
    dead = instance.get_runs(dg.RunsFilter(statuses=DEAD, updated_after=now - LATELY), limit=MOST_DEAD)
    return [run for run in dead if run.job_name == SCORE_JOB]


def _gets_it_further(record: dg.RunRecord, row: InboxRow, instance: dg.DagsterInstance, now: datetime) -> bool:
    """Whether a run may still get its challenge further. One of a backfill counts once it has begun: it may wait long.

    A run that was never handed to anyone is ended, as nobody else would.
    """
    run = record.dagster_run
    if run.status not in UNFINISHED_RUNS:
        return False
    limit_s = _limits_s(instance).get(run.status)
    if limit_s is not None and (now - record.update_timestamp).total_seconds() > limit_s:
        return False  # and cannot even be ended
    unsubmitted = run.status is dg.DagsterRunStatus.NOT_STARTED
    if unsubmitted and (now - record.create_timestamp).total_seconds() > UNSUBMITTED_S:
        instance.report_run_failed(run, "whoever created this run was killed before it was launched")
        return False
    return BACKFILL_TAG not in run.tags or run.run_id == row.run_id


def _said_of(records: Sequence[dg.RunRecord]) -> str:
    """What became of the run that was requested last."""
    ours = [record.dagster_run for record in records if BACKFILL_TAG not in record.dagster_run.tags]
    return f"its last run ended as {ours[0].status.value} ({ours[0].run_id})" if ours else "its run was never created"


def _tell_nothing(row: InboxRow, validator: str, now: datetime, connection: Connection) -> None:
    """Keep an empty result of a challenge that is given up. What this release cannot read is given up untold."""
    try:
        payload = nothing_of(row.challenge(), validator)
    except (ValueError, WireError) as error:
        logger.warning("the network is told nothing of challenge %s, which cannot be read: %s", row.id, error)
    else:
        keep_first_result(connection, row.id, payload, now)

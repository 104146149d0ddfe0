from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import update

from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.orchestrator import BACKFILL_TAG, CHALLENGES, PARTITION_TAG, SCORE_JOB
from loosh_pipeline.run_tags import ATTEMPT_TAG
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.inbox import FIRST_RETRY_S
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.workers.config import EVALUATIONS, folder, marks
from loosh_pipeline.workers.holding import holding
from sensors.challenge_sensor import BATCH, GRACE_S, UNSUBMITTED_S, challenge_sensor
from sensors.jobs import UNFINISHED_RUNS
from tests.claims import claim, due, postpone
from tests.world import World

LONG_AGO = timedelta(hours=1)
ENDED = [status for status in dg.DagsterRunStatus if status not in {*UNFINISHED_RUNS, dg.DagsterRunStatus.MANAGED}]


def tick(world: World) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(
        instance=world.instance, resources={"store": world.store, "signer": world.signer}
    ) as context:
        result = challenge_sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def requested(result: dg.SensorResult | dg.SkipReason) -> Sequence[dg.RunRequest]:
    assert isinstance(result, dg.SensorResult), result.skip_message
    return result.run_requests or []


def attempted(world: World, challenge_id: str, attempts: int) -> ChallengeId:
    """A challenge whose runs were requested that many times, the last one an hour ago."""
    then = datetime.now(UTC) - LONG_AGO
    accepted = world.accept(challenge_id, now=then)
    for _ in range(attempts - 1):
        claim(world.store.inbox, accepted, then)
        postpone(world.store.inbox, accepted, then)
    claim(world.store.inbox, accepted, then)
    assert world.store.inbox.get(accepted).attempts == attempts
    return accepted


def add_run(world: World, challenge_id: ChallengeId, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    return world.add_run(SCORE_JOB, status, **{PARTITION_TAG: challenge_id, **tags})


def due_after_s(world: World, since: datetime, seconds: float) -> list[ChallengeId]:
    return due(world.store.inbox, since + timedelta(seconds=seconds))


def test_each_accepted_challenge_gets_one_run_and_its_partition(world: World) -> None:
    for challenge_id in ("c-1", "c-2"):
        world.accept(challenge_id)
    result = tick(world)

    assert [(r.partition_key, r.tags[ATTEMPT_TAG]) for r in requested(result)] == [("c-1", "1"), ("c-2", "1")]
    assert isinstance(result, dg.SensorResult)
    (added,) = result.dynamic_partitions_requests or []
    assert isinstance(added, dg.AddDynamicPartitionsRequest)
    assert (added.partitions_def_name, list(added.partition_keys)) == (CHALLENGES, ["c-1", "c-2"])
    assert world.state(ChallengeId("c-1")) is ChallengeState.DISPATCHED


def test_what_was_requested_or_claimed_elsewhere_is_not_requested_again(world: World) -> None:
    world.accept("c-1")
    assert len(requested(tick(world))) == 1
    second = world.accept("c-2")
    assert claim(world.store.inbox, second, datetime.now(UTC)) == 1, "by the ingress"

    result = tick(world)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "nothing is due: 2 challenges are being evaluated, the others are done"


def test_a_skip_says_when_what_waits_is_due_and_until_when_it_is_the_ingresss(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_URL", "http://127.0.0.1:3000")
    get_settings.cache_clear()
    received = datetime.now(UTC) - timedelta(seconds=2)
    world.accept(now=received)
    result = tick(world)
    assert isinstance(result, dg.SkipReason)
    until = received + timedelta(seconds=GRACE_S)
    said = f"was due at {received:%H:%M:%S} UTC, and is the ingress's until {until:%H:%M:%S}"
    assert (result.skip_message or "").endswith(said)


def test_what_the_ingress_gave_back_is_requested_as_the_next_attempt(world: World) -> None:
    challenge_id = world.accept()
    claim(world.store.inbox, challenge_id, datetime.now(UTC))
    postpone(world.store.inbox, challenge_id, datetime.now(UTC))
    assert [(r.partition_key, r.tags[ATTEMPT_TAG]) for r in requested(tick(world))] == [("c-1", "2")]


def set_up(monkeypatch: pytest.MonkeyPatch, **environment: object) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name.upper(), str(value))
    get_settings.cache_clear()


def test_a_backlog_is_taken_in_batches_oldest_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, max_concurrent_runs=100)
    start = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(BATCH + 2):
        world.accept(f"c-{number:03}", now=start + timedelta(milliseconds=number))
    assert [r.partition_key for r in requested(tick(world))] == [f"c-{number:03}" for number in range(BATCH)]
    assert [r.partition_key for r in requested(tick(world))] == [f"c-{BATCH:03}", f"c-{BATCH + 1:03}"]


def test_no_more_are_in_flight_than_may_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, max_concurrent_runs=2)
    start = datetime.now(UTC) - timedelta(minutes=1)
    ids = [world.accept(f"c-{number}", now=start + timedelta(seconds=number)) for number in range(4)]
    assert [r.partition_key for r in requested(tick(world))] == ["c-0", "c-1"]
    full = tick(world)
    assert isinstance(full, dg.SkipReason)
    assert full.skip_message == (
        "2 challenges are in flight, and MAX_CONCURRENT_RUNS is 2; 2 others wait until there is room"
    )
    world.store.outbox.keep_result(ids[1], b"{}", datetime.now(UTC))
    assert [r.partition_key for r in requested(tick(world))] == ["c-2"]


def test_no_more_are_launched_than_processes_are_free(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, max_concurrent_runs=1)
    world.accept()
    held_by_workers = marks(folder(get_settings()), EVALUATIONS)
    with holding(held_by_workers, "a"), holding(held_by_workers, "b"), holding(held_by_workers, "c"):
        assert isinstance(tick(world), dg.SkipReason), "three runs tell, draw and narrate still"
    assert [r.partition_key for r in requested(tick(world))] == ["c-1"]


def test_where_the_ingress_launches_it_has_the_first_seconds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, dagster_url="http://127.0.0.1:3000")
    now = datetime.now(UTC)
    world.accept("left", now=now - timedelta(seconds=GRACE_S + 1))
    world.accept("fresh", now=now - timedelta(seconds=GRACE_S - 5))
    assert [r.partition_key for r in requested(tick(world))] == ["left"]


def test_what_was_received_before_the_clock_was_set_back_is_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, dagster_url="http://127.0.0.1:3000")
    world.accept("c-1", now=datetime.now(UTC) + LONG_AGO)
    assert [r.partition_key for r in requested(tick(world))] == ["c-1"]


@pytest.mark.parametrize("status", ENDED)
def test_a_dead_run_is_followed_by_another_after_a_pause(world: World, status: dg.DagsterRunStatus) -> None:
    challenge_id = attempted(world, "c-1", 1)
    run = add_run(world, challenge_id, status)
    before = datetime.now(UTC)
    assert isinstance(tick(world), dg.SkipReason)

    row = world.store.inbox.get(challenge_id)
    assert row.failure == f"its last run ended as {status.value} ({run.run_id})"
    assert row.state is ChallengeState.DISPATCHED
    assert due_after_s(world, before, FIRST_RETRY_S - 1) == []
    assert due_after_s(world, before, FIRST_RETRY_S + 5) == [challenge_id]


def test_a_run_that_was_never_created_is_requested_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loosh_pipeline.store.inbox.FIRST_RETRY_S", 0.0)
    challenge_id = attempted(world, "c-1", 1)
    result = tick(world)
    assert world.store.inbox.get(challenge_id).failure == "its run was never created"
    assert [(r.partition_key, r.tags[ATTEMPT_TAG]) for r in requested(result)] == [("c-1", "2")]


@pytest.mark.parametrize(("attempts", "pause_s"), [(1, 5), (2, 10), (4, 40), (7, 320)])
def test_the_pause_doubles_with_every_dead_run(world: World, attempts: int, pause_s: float) -> None:
    challenge_id = attempted(world, "c-1", attempts)
    add_run(world, challenge_id, dg.DagsterRunStatus.FAILURE)
    before = datetime.now(UTC)
    tick(world)
    took_s = (datetime.now(UTC) - before).total_seconds()
    assert due_after_s(world, before, pause_s - 0.001) == []
    assert due_after_s(world, before, pause_s + took_s) == [challenge_id]


def test_after_the_last_attempt_it_is_parked_with_the_reason(world: World) -> None:
    challenge_id = attempted(world, "c-1", world.settings.max_run_attempts)
    run = add_run(world, challenge_id, dg.DagsterRunStatus.FAILURE)
    tick(world)

    row = world.store.inbox.get(challenge_id)
    assert row.state is ChallengeState.FAILED
    assert run.run_id in (row.failure or "")
    assert due_after_s(world, datetime.now(UTC), 1e6) == []
    assert isinstance(tick(world), dg.SkipReason)


def test_w_22_of_what_is_given_up_the_network_hears_that_nothing_came(world: World) -> None:
    challenge_id = attempted(world, "c-1", world.settings.max_run_attempts)
    tick(world)
    assert world.state(challenge_id) is ChallengeState.FAILED
    (row,) = world.store.outbox.lease(datetime.now(UTC), 9)
    body = json.loads(row.payload)
    assert (row.kind, body["challenge_id"], body["responses"]) == (DeliveryKind.RESPONSE_BATCH, "c-1", [])
    assert body["evaluation"]["best_miner_id"] is None
    assert body["validator_hotkey"] == world.signer.ss58_address


def test_what_cannot_be_read_any_more_is_given_up_all_the_same(world: World, caplog: pytest.LogCaptureFixture) -> None:
    then = datetime.now(UTC) - LONG_AGO
    odd = ChallengeId("odd")
    world.store.inbox.accept(odd, {"id": "odd", "prompt": ""}, then)
    for _ in range(world.settings.max_run_attempts):
        claim(world.store.inbox, odd, then)
        postpone(world.store.inbox, odd, then)
    claim(world.store.inbox, odd, then)
    tick(world)
    assert world.state(odd) is ChallengeState.FAILED
    assert not world.store.outbox.has_due(datetime.now(UTC))
    assert "told nothing of challenge odd" in caplog.text


@pytest.mark.parametrize("status", UNFINISHED_RUNS)
def test_a_live_run_is_left_alone_however_long_it_takes(world: World, status: dg.DagsterRunStatus) -> None:
    challenge_id = attempted(world, "c-1", 2)
    add_run(world, challenge_id, dg.DagsterRunStatus.FAILURE)
    add_run(world, challenge_id, status)
    before = world.store.inbox.get(challenge_id)
    assert isinstance(tick(world), dg.SkipReason)
    after = world.store.inbox.get(challenge_id)
    assert (after.state, after.attempts, after.failure) == (before.state, before.attempts, before.failure)
    assert due_after_s(world, datetime.now(UTC), 3600) == []


def test_a_run_of_another_challenge_keeps_nothing_alive(world: World) -> None:
    dead = attempted(world, "c-1", 1)
    add_run(world, attempted(world, "c-2", 1), dg.DagsterRunStatus.STARTED)
    tick(world)
    assert world.store.inbox.get(dead).failure == "its run was never created"
    assert world.store.inbox.get(ChallengeId("c-2")).failure is None


def test_a_challenge_that_moved_a_moment_ago_is_not_looked_at(world: World) -> None:
    challenge_id = world.accept()
    claim(world.store.inbox, challenge_id, datetime.now(UTC))
    tick(world)
    assert world.store.inbox.get(challenge_id).failure is None


def test_a_scored_challenge_whose_result_waits_in_the_outbox_gets_no_run(world: World) -> None:
    challenge_id = attempted(world, "c-1", 1)
    then = datetime.now(UTC) - LONG_AGO
    world.store.outbox.keep_result(challenge_id, b"{}", then)
    tick(world)
    row = world.store.inbox.get(challenge_id)
    assert (row.state, row.failure) == (ChallengeState.SCORED, None)


def test_a_dead_run_does_not_wait_behind_a_long_queue(world: World) -> None:
    for number in range(BATCH):
        add_run(world, attempted(world, f"queued-{number:03}", attempts=1), dg.DagsterRunStatus.QUEUED)
    dead = attempted(world, "zz-dead", attempts=1)
    add_run(world, dead, dg.DagsterRunStatus.FAILURE)
    tick(world)
    tick(world)
    assert due_after_s(world, datetime.now(UTC), FIRST_RETRY_S) == [dead]


DIED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def claimed(world: World, challenge_id: str = "c-1") -> ChallengeId:
    """A challenge whose run was requested a moment ago."""
    accepted = world.accept(challenge_id)
    assert claim(world.store.inbox, accepted, datetime.now(UTC)) == 1
    return accepted


@pytest.mark.parametrize("status", DIED)
def test_a_run_known_to_be_dead_is_followed_at_the_next_tick(world: World, status: dg.DagsterRunStatus) -> None:
    challenge_id = claimed(world)
    run = add_run(world, challenge_id, status, **{ATTEMPT_TAG: "1"})
    before = datetime.now(UTC)
    tick(world)
    assert world.store.inbox.get(challenge_id).failure == f"its last run ended as {status.value} ({run.run_id})"
    assert due_after_s(world, before, FIRST_RETRY_S + 5) == [challenge_id]
    tick(world)
    assert world.store.inbox.get(challenge_id).attempts == 1, "it is told once"


@pytest.mark.parametrize("attempt", ["2", None])
def test_a_dead_run_of_another_attempt_says_nothing(world: World, attempt: str | None) -> None:
    challenge_id = claimed(world)
    add_run(world, challenge_id, dg.DagsterRunStatus.FAILURE, **({ATTEMPT_TAG: attempt} if attempt else {}))
    tick(world)
    assert world.store.inbox.get(challenge_id).failure is None


def test_a_run_that_died_after_the_scores_is_not_followed(world: World) -> None:
    challenge_id = claimed(world)
    world.store.outbox.keep_result(challenge_id, b"{}", datetime.now(UTC))
    add_run(world, challenge_id, dg.DagsterRunStatus.FAILURE, **{ATTEMPT_TAG: "1"})
    tick(world)
    row = world.store.inbox.get(challenge_id)
    assert (row.state, row.failure) == (ChallengeState.SCORED, None)


def test_a_backfill_that_waits_is_no_live_run_and_one_that_asks_is(world: World) -> None:
    waiting, asking = attempted(world, "c-1", 1), attempted(world, "c-2", 1)
    add_run(world, waiting, dg.DagsterRunStatus.QUEUED, **{BACKFILL_TAG: "abc"})
    run = add_run(world, asking, dg.DagsterRunStatus.STARTED, **{BACKFILL_TAG: "abc"})
    world.store.runs.begin(asking, run.run_id, None, datetime.now(UTC) - LONG_AGO, lambda _: True)
    tick(world)
    assert world.store.inbox.get(waiting).failure == "its run was never created"
    assert world.store.inbox.get(asking).failure is None


def test_a_run_that_nobody_handed_over_is_ended_and_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    challenge_id = attempted(world, "c-1", 1)
    run = add_run(world, challenge_id, dg.DagsterRunStatus.NOT_STARTED, **{ATTEMPT_TAG: "1"})
    tick(world)
    assert world.store.inbox.get(challenge_id).failure is None, "it may be about to be"
    monkeypatch.setattr("sensors.challenge_sensor.UNSUBMITTED_S", UNSUBMITTED_S - 3600)
    with world.store.inbox.engine.begin() as connection:
        connection.execute(update(challenges).values(state_changed_at=datetime.now(UTC) - LONG_AGO))
    tick(world)
    assert run.run_id in (world.store.inbox.get(challenge_id).failure or "")
    ended = world.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def test_what_moved_before_the_clock_was_set_back_is_looked_at(world: World) -> None:
    later = datetime.now(UTC) + LONG_AGO
    challenge_id = world.accept("c-1", now=later)
    claim(world.store.inbox, challenge_id, later)
    tick(world)
    assert world.store.inbox.get(challenge_id).failure == "its run was never created"


def test_a_challenge_that_is_taken_up_again_is_launched_under_a_new_key(world: World) -> None:
    challenge_id = world.accept()
    (first,) = requested(tick(world))
    world.store.inbox.retry(world.store.inbox.get(challenge_id), "it died", datetime.now(UTC), max_attempts=1)
    assert world.store.inbox.unpark(datetime.now(UTC)) == 1
    (again,) = requested(tick(world))
    assert again.tags[ATTEMPT_TAG] == first.tags[ATTEMPT_TAG] == "1"
    assert again.run_key != first.run_key, "Dagster would skip it, for ever"


STUCK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]


def stuck_since_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.challenge_sensor.STUCK_S", -3600.0)


@pytest.mark.parametrize("status", STUCK)
def test_a_run_that_monitoring_cannot_end_is_ended_and_followed(
    world: World, status: dg.DagsterRunStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge_id = attempted(world, "c-1", 1)
    run, other = add_run(world, challenge_id, status, **{ATTEMPT_TAG: "1"}), world.add_run("weights", status)
    stuck_since_the_epoch(monkeypatch)
    tick(world)
    assert world.store.inbox.get(challenge_id).failure == f"its last run ended as FAILURE ({run.run_id})"
    for each in (run, other):
        ended = world.instance.get_run_by_id(each.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_cannot_even_be_ended_keeps_no_challenge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("its events cannot be written")

    challenge_id = attempted(world, "c-1", 1)
    run = add_run(world, challenge_id, dg.DagsterRunStatus.STARTING, **{ATTEMPT_TAG: "1"})
    stuck_since_the_epoch(monkeypatch)
    monkeypatch.setattr(world.instance, "report_run_failed", refuse)
    tick(world)
    assert world.store.inbox.get(challenge_id).failure == f"its last run ended as STARTING ({run.run_id})"


def test_a_challenge_that_cannot_be_recovered_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("c-1", "c-2", "c-3"):
        attempted(world, name, 1)
    get = world.instance.get_run_records

    def fail_for_the_second(filters: dg.RunsFilter, *args: Any, **kwargs: Any) -> Any:
        if filters.tags and filters.tags.get(PARTITION_TAG) == "c-2":
            raise OSError("malformed")
        return get(filters, *args, **kwargs)

    monkeypatch.setattr(world.instance, "get_run_records", fail_for_the_second)
    tick(world)
    failures = [world.store.inbox.get(ChallengeId(f"c-{n}")).failure for n in (1, 2, 3)]
    assert failures == ["its run was never created", None, "its run was never created"]
    assert "challenge c-2 cannot be recovered" in caplog.text

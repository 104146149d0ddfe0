"""What was accepted is kept, and moved on once; whatever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import select, text, update

from loosh_pipeline.domain import ChallengeId, ChallengeState, Outcome, Response
from loosh_pipeline.errors import DuplicateChallenge, UnknownChallenge
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import FIRST_RETRY_S, LONGEST_RETRY_S, Inbox, InboxRow, advance, pause_s
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.schema import challenges, miners
from tests.builders import NOON, response
from tests.claims import claim, due

C1 = ChallengeId("c-1")
ROUND = (
    response("hotkey-1", elapsed_ms=100.0),
    response("hotkey-2", elapsed_ms=300.0),
    response("hotkey-3", outcome=Outcome.TIMEOUT, text="", elapsed_ms=None),
)

ACCEPT_AND_HANG = """
import sys, time
from datetime import UTC, datetime
from loosh_pipeline.store.inbox import Inbox
Inbox.open(sys.argv[1]).accept("c-1", {"id": "c-1", "prompt": "hi"}, datetime(2026, 1, 2, 12, tzinfo=UTC))
print("accepted", flush=True)
time.sleep(600)
"""


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def accept(inbox: Inbox, challenge_id: str = C1, at: datetime = NOON) -> ChallengeId:
    inbox.accept(ChallengeId(challenge_id), {"id": challenge_id, "prompt": "Why is the sky blue?"}, at)
    return ChallengeId(challenge_id)


def figures_of_miners(inbox: Inbox) -> dict[str, tuple[int, int]]:
    with reading(inbox.engine) as connection:
        rows = connection.execute(select(miners.c.hotkey, miners.c.asked, miners.c.answered)).all()
    return {row.hotkey: (row.asked, row.answered) for row in rows}


def park(inbox: Inbox, challenge_id: ChallengeId = C1) -> None:
    row = inbox.get(challenge_id)
    assert inbox.retry(row, "it always dies", after(900), max_attempts=row.attempts) is ChallengeState.FAILED


def test_accepted_is_what_was_sent_with_its_time_in_utc(inbox: Inbox) -> None:
    request = {"id": "é", "prompt": "\u0000 \U0001f308", "metadata": {"deep": [1, None, {"a": 2.5}]}}
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    inbox.accept(ChallengeId("é"), request, tokyo)

    row = inbox.get(ChallengeId("é"))
    assert row.request == request
    assert (row.received_at, row.received_at.utcoffset()) == (NOON, timedelta(0))
    assert row.challenge().prompt == request["prompt"]
    assert (row.state, row.attempts, row.asked, row.failure) == (ChallengeState.RECEIVED, 0, 0, None)


def test_an_id_is_accepted_once_and_the_first_stands(inbox: Inbox) -> None:
    accept(inbox)
    with pytest.raises(DuplicateChallenge, match="Challenge c-1 already exists"):
        inbox.accept(C1, {"id": "c-1", "prompt": "another"}, after(1))
    assert inbox.get(C1).challenge().prompt == "Why is the sky blue?"
    assert inbox.stats().total == 1


def test_threads_that_accept_one_id_at_once_have_one_winner(inbox: Inbox) -> None:
    def attempt(_: int) -> bool:
        try:
            accept(inbox)
        except DuplicateChallenge:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_unknown_and_naive_are_refused(inbox: Inbox) -> None:
    with pytest.raises(UnknownChallenge, match="'c-9'"):
        inbox.get(ChallengeId("c-9"))
    with pytest.raises(ValueError, match="naive"):
        accept(inbox, at=NOON.replace(tzinfo=None))
    assert inbox.stats().total == 0


def test_a_kill_right_after_accept_loses_nothing(inbox_url: str) -> None:
    command = [sys.executable, "-c", ACCEPT_AND_HANG, inbox_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"accepted\n"
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    inbox = Inbox.open(inbox_url)
    assert due(inbox, NOON) == [C1]
    inbox.engine.dispose()


def test_the_whole_way_moves_forward_only_and_each_step_counts_once(inbox: Inbox, outbox: Outbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    assert [inbox.collected(C1, ROUND, after(at)) for at in (10, 11)] == [True, False]
    assert [outbox.keep_result(C1, b"{}", after(at)) for at in (12, 13)] == [True, False]
    assert not inbox.collected(C1, ROUND, after(14)), "backwards"

    row = inbox.get(C1)
    assert (row.state, row.asked, row.answered, row.scored_at) == (ChallengeState.SCORED, 3, 2, after(12))
    assert figures_of_miners(inbox) == {"hotkey-1": (1, 1), "hotkey-2": (1, 1), "hotkey-3": (1, 0)}
    stats = inbox.stats()
    assert (stats.asked, stats.answered, stats.mean_elapsed_ms, stats.queued) == (3, 2, 200.0, 0)
    assert inbox.latencies_s(NOON) == [12.0]
    assert inbox.scored_since(NOON) == 1
    assert inbox.scored_since(after(1)) == 0


def test_rounds_at_the_same_time_count_every_miner_exactly(inbox: Inbox) -> None:
    ids = [accept(inbox, f"c-{number}") for number in range(12)]
    rounds = {challenge_id: ROUND if n % 2 else ROUND[::-1] for n, challenge_id in enumerate(ids)}
    with ThreadPoolExecutor(6) as pool:
        moved = list(pool.map(lambda challenge_id: inbox.collected(challenge_id, rounds[challenge_id], NOON), ids * 2))
    assert sum(moved) == 12
    assert figures_of_miners(inbox) == {"hotkey-1": (12, 12), "hotkey-2": (12, 12), "hotkey-3": (12, 0)}


def test_active_miners_answered_lately(inbox: Inbox) -> None:
    accept(inbox)
    inbox.collected(C1, ROUND, after(10))
    later = tuple(response(f"hotkey-{n}", outcome=Outcome.TIMEOUT) for n in (1, 2))
    inbox.collected(accept(inbox, "c-2"), later, after(99))
    assert inbox.active_miners(after(10)) == 2, "the timeouts since do not count, nor do they erase the answer"
    assert inbox.active_miners(after(11)) == 0


def test_a_step_forward_makes_a_scheduled_run_superfluous(inbox: Inbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    inbox.retry(inbox.get(C1), "it seemed dead", after(60), max_attempts=8)
    inbox.collected(C1, ROUND, after(61))
    assert due(inbox, after(999)) == []
    assert claim(inbox, C1, after(999)) is None
    assert [row.id for row in inbox.stalled(after(999), 9)] == [C1], "if that run dies too, it is seen"


@pytest.mark.parametrize("steps", [0, 1])
def test_what_stopped_moving_is_stalled_wherever_it_stopped(inbox: Inbox, steps: int) -> None:
    accept(inbox)
    assert inbox.stalled(after(999), 9) == [], "nobody took it yet"
    claim(inbox, C1, NOON)
    if steps:
        inbox.collected(C1, ROUND, NOON)
    assert inbox.stalled(NOON, 9) == [], "just now it moved"
    assert [row.id for row in inbox.stalled(after(1), 9)] == [C1]
    inbox.retry(inbox.get(C1), "died", after(1), max_attempts=8)
    assert inbox.stalled(after(999), 9) == [], "it waits for its next run"


def test_scored_and_in_the_outbox_is_the_outboxs_concern(inbox: Inbox, outbox: Outbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    outbox.keep_heatmap(C1, b"{}", NOON)
    assert [row.id for row in inbox.stalled(after(999), 9)] == [C1], "a picture is not what came of it"
    outbox.keep_result(C1, b"{}", NOON)
    assert inbox.stalled(after(999), 9) == []


def test_runs_are_retried_later_each_time_then_parked_with_the_reason(inbox: Inbox) -> None:
    accept(inbox)
    now = NOON
    for attempt, pause in ((1, 5.0), (2, 10.0), (3, 20.0)):
        assert claim(inbox, C1, now) == attempt
        row = inbox.get(C1)
        assert inbox.retry(row, f"run {attempt} died", now, max_attempts=4) is ChallengeState.DISPATCHED
        assert inbox.get(C1).failure == f"run {attempt} died"
        assert claim(inbox, C1, now + timedelta(seconds=pause - 0.001)) is None
        now += timedelta(seconds=pause)
    assert claim(inbox, C1, now) == 4
    assert inbox.retry(inbox.get(C1), "run 4 died", now, max_attempts=4) is ChallengeState.FAILED
    assert (due(inbox, after(9999)), inbox.stalled(after(9999), 9)) == ([], [])
    assert inbox.get(C1).failure == "run 4 died"
    assert inbox.stats().by_state == {ChallengeState.FAILED: 1}


def test_a_retry_decided_on_an_old_look_changes_nothing_and_says_so(inbox: Inbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    seen = inbox.get(C1)
    inbox.collected(C1, ROUND, after(30))
    assert inbox.retry(seen, "seemed dead", after(31), max_attempts=1) is ChallengeState.COLLECTED
    assert inbox.get(C1).failure is None

    seen = inbox.get(C1)
    first = inbox.retry(seen, "dead", after(60), max_attempts=8)
    again = inbox.retry(seen, "dead", after(64), max_attempts=8)
    assert first is again is ChallengeState.COLLECTED
    assert claim(inbox, C1, after(65)) == 2, "the second retry moved nothing away"


def test_a_parked_challenge_recovers_and_is_counted_once(inbox: Inbox, outbox: Outbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    inbox.collected(C1, ROUND, after(1))
    park(inbox)

    assert inbox.collected(C1, ROUND, after(1000)), "an operator runs it again"
    assert outbox.keep_result(C1, b"{}", after(1001))
    row = inbox.get(C1)
    assert (row.state, row.failure, row.asked, row.scored_at) == (ChallengeState.SCORED, None, 3, after(1001))
    assert figures_of_miners(inbox)["hotkey-1"] == (1, 1)
    (leased,) = outbox.lease(after(1002), 9)
    outbox.delivered(leased, "201", after(1003))
    assert inbox.get(C1).state is ChallengeState.SUBMITTED
    assert not outbox.keep_result(C1, b"{}", after(2000)), "a rescore of what was told tells nothing"
    assert inbox.get(C1).state is ChallengeState.SUBMITTED


def test_a_challenge_parked_before_it_was_collected_is_counted_when_it_is(inbox: Inbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    park(inbox)
    assert inbox.collected(C1, ROUND, after(1000))
    assert figures_of_miners(inbox)["hotkey-1"] == (1, 1)


@pytest.mark.parametrize("attempts", [0, 1, 2, 8, 60, 5000])
def test_pauses_double_up_to_the_longest_whatever_the_number(attempts: int) -> None:
    pause = pause_s(attempts, FIRST_RETRY_S, LONGEST_RETRY_S)
    assert pause == min(FIRST_RETRY_S * 2.0 ** min(max(attempts - 1, 0), 100), LONGEST_RETRY_S)


def test_stats_of_nothing_and_by_state(inbox: Inbox, outbox: Outbox) -> None:
    empty = inbox.stats()
    assert (empty.total, empty.queued, empty.asked, empty.mean_elapsed_ms, empty.by_state) == (0, 0, 0, 0.0, {})
    for number in range(4):
        accept(inbox, f"c-{number}")
    claim(inbox, ChallengeId("c-1"), NOON)
    inbox.collected(ChallengeId("c-2"), ROUND, NOON)
    outbox.keep_result(ChallengeId("c-3"), b"{}", NOON)
    stats = inbox.stats()
    assert (stats.total, stats.queued) == (4, 3)
    assert stats.by_state == {state: 1 for state in list(ChallengeState)[:4]}


def test_recent_is_the_newest_first(inbox: Inbox) -> None:
    for number in range(3):
        accept(inbox, f"c-{number}", after(number))
    assert [row.id for row in inbox.recent(2)] == ["c-2", "c-1"]


def test_the_switch_is_kept(inbox: Inbox, inbox_url: str) -> None:
    assert inbox.is_running()
    for running in (False, False, True):
        inbox.set_running(running, NOON)
        other = Inbox.open(inbox_url)
        assert other.is_running() is running
        other.engine.dispose()


def test_advance_never_moves_backwards_from_any_state(inbox: Inbox) -> None:
    order = [state for state in ChallengeState if state is not ChallengeState.FAILED]
    for start in order:
        for target in order[1:]:
            challenge_id = accept(inbox, f"{start}-{target}")
            with inbox.engine.begin() as connection:
                connection.execute(update(challenges).where(challenges.c.id == challenge_id).values(state=start))
                assert advance(connection, challenge_id, target, NOON) is (order.index(start) < order.index(target))


def row_of(inbox: Inbox, responses: tuple[Response, ...]) -> InboxRow:
    inbox.collected(C1, responses, NOON)
    return inbox.get(C1)


def test_nobody_asked_and_nobody_answered_are_figures_too(inbox: Inbox) -> None:
    accept(inbox)
    row = row_of(inbox, ())
    assert (row.state, row.asked, row.answered) == (ChallengeState.COLLECTED, 0, 0)
    assert inbox.stats().mean_elapsed_ms == 0.0


@pytest.mark.parametrize("inbox_url", ["sqlite"], indirect=True)
def test_what_is_asked_often_never_reads_the_whole_history(inbox: Inbox) -> None:
    accept(inbox)
    plans: list[str] = []
    with reading(inbox.engine) as connection:
        sqlite = connection.connection.driver_connection
        assert sqlite is not None
        statements: list[str] = []
        sqlite.set_trace_callback(statements.append)
    inbox.stats()
    inbox.stalled(NOON, 25)
    sqlite.set_trace_callback(None)
    with reading(inbox.engine) as connection:
        for statement in statements:
            if statement.startswith("SELECT"):
                plans += [row.detail for row in connection.execute(text("EXPLAIN QUERY PLAN " + statement))]
    of_challenges = [plan for plan in plans if plan.startswith(("SCAN challenges", "SEARCH challenges"))]
    assert [plan.split(" INDEX ")[1].split(" ")[0] for plan in of_challenges] == [
        "challenges_figures",
        "challenges_state",
    ], plans


def test_an_operator_can_take_up_what_was_parked(inbox: Inbox) -> None:
    accept(inbox)
    claim(inbox, C1, NOON)
    park(inbox)
    assert due(inbox, after(10_000)) == []
    assert inbox.unpark(after(1000)) == 1
    assert due(inbox, after(1000)) == [C1]
    row = inbox.get(C1)
    assert (row.state, row.attempts) == (ChallengeState.RECEIVED, 0)
    assert inbox.unpark(after(1000)) == 0


def test_how_long_the_oldest_has_waited(inbox: Inbox) -> None:
    assert inbox.oldest_waiting() is None
    accept(inbox)
    assert inbox.oldest_waiting() == NOON
    claim(inbox, C1, after(1))
    assert inbox.oldest_waiting() is None

"""Who is next, who has room, and that only one run at a time asks the miners of a challenge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import Overtaken, UnknownChallenge
from loosh_pipeline.store.inbox import LONGEST_RETRY_S, Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.runs import Claim, Queue, Runs
from tests.builders import NOON, response
from tests.store.test_inbox import C1, accept, after
from tests.together import together

C2, C3 = ChallengeId("c-2"), ChallengeId("c-3")

CLAIM_ALL = """
import sys
from datetime import UTC, datetime
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.runs import Runs
runs, now = Runs(Inbox.open(sys.argv[1]).engine), datetime(2026, 1, 2, 12, tzinfo=UTC)
print("ready", flush=True)
sys.stdin.readline()
while runs.queue(now).due:
    for claim in runs.claim(now, 99, 2):
        print(claim.id, flush=True)
"""


@pytest.fixture
def runs(inbox: Inbox) -> Runs:
    return Runs(inbox.engine)


def alive(_run_id: str) -> bool:
    return False


def over(_run_id: str) -> bool:
    return True


def test_the_oldest_are_claimed_first_while_there_is_room(inbox: Inbox, runs: Runs) -> None:
    for number in (3, 1, 2):
        accept(inbox, f"c-{number}", after(number))
    assert runs.queue(after(9)) == Queue(0, True, True)
    assert runs.claim(after(9), room=2, limit=5) == [Claim(C1, 1), Claim(C2, 1)]
    assert inbox.get(C1).state is ChallengeState.DISPATCHED
    assert runs.queue(after(9)) == Queue(2, True, True)
    assert runs.claim(after(9), room=2, limit=5) == []
    assert runs.claim(after(9), room=9, limit=0) == []
    assert runs.claim(after(9), room=9, limit=5) == [Claim(C3, 1)]
    assert runs.queue(after(9)) == Queue(3, False, False)


def test_collected_is_in_flight_and_scored_is_not(inbox: Inbox, runs: Runs, outbox: Outbox) -> None:
    for each in (C1, C2):
        accept(inbox, each)
    assert len(runs.claim(NOON, room=2, limit=2)) == 2
    inbox.collected(C1, [response()], after(1))
    assert runs.queue(after(1)).in_flight == 2
    outbox.keep_result(C1, b"{}", after(2))
    assert runs.queue(after(2)).in_flight == 1
    assert [row.id for row in runs.unscored([C1, C2, "c-9"])] == [C2]


def test_claims_at_once_never_exceed_the_room(inbox: Inbox, runs: Runs) -> None:
    for number in range(12):
        accept(inbox, f"c-{number:02}")
    with ThreadPoolExecutor(4) as pool:
        taken = [claim for claims in pool.map(lambda _: runs.claim(NOON, 6, 2), range(8)) for claim in claims]
    assert len({claim.id for claim in taken}) == len(taken)
    if inbox.engine.dialect.name == "sqlite":  # on Postgres, two that look at once may overshoot by one claim
        assert len(taken) == 6


def test_processes_that_claim_at_once_have_one_winner_each(inbox: Inbox, inbox_url: str) -> None:
    ids = [accept(inbox, f"c-{number:02}") for number in range(25)]
    processes = together(3, CLAIM_ALL, inbox_url)
    won = [line for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(won) == ids
    assert [process.returncode for process in processes] == [0] * 3
    assert {inbox.get(each).attempts for each in ids} == {1}


def test_what_has_waited_too_short_is_left_to_others(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    assert (runs.queue(after(9), 10).due, runs.claim(after(9), 9, 9, 10)) == (False, [])
    assert (runs.queue(after(10), 10).due, runs.claim(after(10), 9, 9, 10)) == (True, [Claim(C1, 1)])


def test_a_clock_that_was_set_back_holds_up_nobody(inbox: Inbox, runs: Runs) -> None:
    accept(inbox, C1, after(7200))
    accept(inbox, C2)
    runs.postpone(runs.claim(NOON, 2, 2)[0], after(60))
    accept(inbox, C3)
    runs.postpone(runs.claim(after(1), 2, 2)[-1], after(LONGEST_RETRY_S + 100))
    assert {claim.id for claim in runs.claim(after(2), 9, 9)} <= {C1, C3}


def test_what_was_certainly_not_launched_is_as_it_was(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.give_back(runs.claim(after(5), 9, 9), after(6))
    row = inbox.get(C1)
    assert (row.state, row.attempts, inbox.oldest_waiting()) == (ChallengeState.RECEIVED, 0, NOON)

    runs.postpone(runs.claim(after(7), 9, 9)[0], after(8))
    runs.give_back(runs.claim(after(8), 9, 9), after(9))
    row = inbox.get(C1)
    assert (row.state, row.attempts, inbox.oldest_waiting()) == (ChallengeState.DISPATCHED, 1, after(9))


def test_a_claim_that_comes_back_late_takes_nothing_from_another(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    (late,) = runs.claim(NOON, 9, 9)
    row = inbox.get(C1)
    inbox.retry(row, "it died", after(60), 9)
    (newer,) = runs.claim(after(90), 9, 9)
    runs.give_back([late], after(91))
    runs.postpone(late, after(91))
    assert (newer.attempt, inbox.get(C1).attempts, runs.queue(after(99)).due) == (2, 2, False)

    runs.begin(C1, "run-2", 2, after(92), alive)
    runs.give_back([newer], after(93))
    runs.postpone(newer, after(93))
    assert (inbox.get(C1).attempts, runs.queue(after(99)).due) == (2, False)


def test_a_claim_that_comes_back_revives_nothing_that_was_given_up(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    (claim,) = runs.claim(NOON, 9, 9)
    assert inbox.retry(inbox.get(C1), "it always dies", after(60), 1) is ChallengeState.FAILED
    runs.postpone(claim, after(61))
    runs.give_back([claim], after(62))
    assert (inbox.get(C1).state, inbox.get(C1).attempts) == (ChallengeState.FAILED, 1)
    assert not runs.queue(after(99)).waits


def test_only_the_newest_attempt_may_ask(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.claim(NOON, 9, 9)
    inbox.retry(inbox.get(C1), "no run was seen", after(30), 9)
    runs.claim(after(60), 9, 9)
    with pytest.raises(Overtaken, match="at attempt 2; this run was launched as 1"):
        runs.begin(C1, "run-1", 1, after(61), over)
    runs.begin(C1, "run-2", 2, after(61), alive)
    runs.begin(C1, "run-2", 2, after(62), alive)
    assert inbox.get(C1).run_id == "run-2"


def test_a_run_that_begins_after_its_retry_was_scheduled_takes_it_back(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.claim(NOON, 9, 9)
    inbox.retry(inbox.get(C1), "no run was seen", after(30), 9)
    runs.begin(C1, "run-1", 1, after(31), alive)
    assert runs.claim(after(99), 9, 9) == [], "its miners are being asked"


def test_a_retry_by_what_was_read_before_a_run_began_does_nothing(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.claim(NOON, 9, 9)
    seen = inbox.get(C1)
    runs.begin(C1, "run-1", 1, after(30), alive)
    inbox.retry(seen, "no run was seen", after(31), 9)
    assert (runs.queue(after(99)).due, inbox.get(C1).failure) == (False, None)


def test_two_runs_of_one_attempt_never_ask_together(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.claim(NOON, 9, 9)
    runs.begin(C1, "by hand", None, after(1), alive)
    with pytest.raises(Overtaken, match="run by hand evaluates"):
        runs.begin(C1, "run-1", 1, after(2), alive)
    runs.begin(C1, "run-1", 1, after(3), over)
    with pytest.raises(Overtaken, match="run run-1 evaluates"):
        runs.begin(C1, "by hand", None, after(4), alive)


def test_who_is_slower_in_between_is_told(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.claim(NOON, 9, 9)
    runs.begin(C1, "run-0", 1, after(1), alive)

    def over_and_taken(_run_id: str) -> bool:
        runs.begin(C1, "run-1", None, after(2), over)
        return True

    with pytest.raises(Overtaken, match="a moment ago"):
        runs.begin(C1, "run-2", 1, after(2), over_and_taken)
    assert inbox.get(C1).run_id == "run-1"


def test_a_run_by_hand_takes_what_waits_and_stalls_like_any_other(inbox: Inbox, runs: Runs) -> None:
    accept(inbox)
    runs.begin(C1, "by hand", None, after(1), alive)
    assert (runs.queue(after(9)), inbox.get(C1).state) == (Queue(1, False, False), ChallengeState.DISPATCHED)
    assert [row.id for row in inbox.stalled(after(60), 9)] == [C1]
    with pytest.raises(UnknownChallenge, match="c-9"):
        runs.begin(ChallengeId("c-9"), "by hand", None, NOON, alive)


def test_a_long_queue_is_not_read_through(inbox: Inbox, runs: Runs) -> None:
    if inbox.engine.dialect.name != "sqlite":
        pytest.skip("says how SQLite goes about it")
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in rows)

    event.listen(inbox.engine, "before_cursor_execute", explain)
    runs.queue(NOON)
    runs.claim(NOON, 9, 9)
    assert set(plans) == {
        "SCAN challenges USING COVERING INDEX challenges_queue",
        "SEARCH challenges USING COVERING INDEX challenges_state (state=? AND next_run_at=?)",
    }

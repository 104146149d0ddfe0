"""Marks of canaries in both databases: never without their challenge, and no challenge of ours without its mark."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind, Hotkey
from loosh_pipeline.errors import DuplicateChallenge
from loosh_pipeline.store import arrivals
from loosh_pipeline.store.acceptances import first_broken_of
from loosh_pipeline.store.accepted_range import accepted_since
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import Canaries, CanaryMark, mark
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox, advance
from loosh_pipeline.store.nonces import Nonce
from loosh_pipeline.store.outbox import Outbox, keep_first_result
from loosh_pipeline.store.schema import canaries, challenges
from loosh_pipeline.store.tables import TableKey

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
MARK = CanaryMark([{"number": 42}], "a" * 64)
C1 = ChallengeId("c-1")


def arrival(name: str, canary: CanaryMark | None = None, at: datetime = NOW, nonce: Nonce | None = None) -> Arrival:
    return Arrival(ChallengeId(name), {"id": name, "prompt": "hi"}, at, nonce, canary)


def count(inbox: Inbox, table: Any) -> int:
    with reading(inbox.engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_canary_is_marked_as_it_is_accepted_and_stands_in_the_chain(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("a"), arrival("c-1", MARK), arrival("b")])
    kept = Canaries(inbox.engine)
    assert (C1 in kept, ChallengeId("a") in kept) == (True, False)
    assert kept.among([C1, ChallengeId("a")]) == {C1}
    assert first_broken_of(inbox.engine, requests=True).links == 3
    found = accepted_since(inbox.engine, NOW, ()).acceptances
    assert [each.became for each in found] == ["waiting", "canary", "waiting"]
    assert [bool(each.known) for each in found] == [False, True, False]
    assert len({each.salt for each in found}) == 3


def test_a_mark_that_is_made_or_changed_afterwards_breaks_its_link(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("a"), arrival("c-1", MARK), arrival("b")])
    with inbox.engine.begin() as connection:
        mark(connection, ChallengeId("b"), MARK, NOW)
    broken = first_broken_of(inbox.engine).broken
    assert broken is not None
    assert (broken.seq, "said to be a canary, and was committed" in broken.reason) == (3, True)
    with inbox.engine.begin() as connection:
        connection.execute(update(canaries).where(canaries.c.challenge_id == "c-1").values(accepted=[{"number": 43}]))
    broken = first_broken_of(inbox.engine).broken
    assert broken is not None
    assert broken.seq == 2
    with inbox.engine.begin() as connection:
        connection.execute(delete(canaries))
    broken = first_broken_of(inbox.engine).broken
    assert broken is not None
    assert (broken.seq, "said to be pushed, and was committed" in broken.reason) == (2, True)


def test_a_duplicate_is_not_marked(inbox: Inbox) -> None:
    """Else a challenge that somebody pushed would be paid to nobody."""
    commit_arrivals(inbox.engine, [arrival("c-1")])
    (verdict,) = commit_arrivals(inbox.engine, [arrival("c-1", MARK)])
    assert isinstance(verdict, DuplicateChallenge)
    _, second = commit_arrivals(inbox.engine, [arrival("c-2"), arrival("c-2", MARK)])
    assert isinstance(second, DuplicateChallenge)
    assert count(inbox, canaries) == 0


def test_what_cannot_be_marked_is_not_accepted(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        raise SystemExit("killed between the two")

    monkeypatch.setattr(arrivals, "mark", die)
    with pytest.raises(SystemExit):
        commit_arrivals(inbox.engine, [arrival("c-1", MARK)])
    assert (count(inbox, challenges), count(inbox, canaries)) == (0, 0)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from sqlalchemy import event, text
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import CanaryMark
from loosh_pipeline.store.inbox import Inbox

url, steps, status = sys.argv[1], 0, 1
while status:  # until one went through
    if (child := os.fork()) == 0:
        inbox, seen = Inbox.open(url), 0

        @event.listens_for(inbox.engine, "before_cursor_execute")
        @event.listens_for(inbox.engine, "commit")
        def step(*_):
            global seen
            if seen == steps:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

        mark = CanaryMark([1], "a" * 64)
        commit_arrivals(inbox.engine, [Arrival("c-1", {"id": "c-1"}, datetime.now(UTC), None, mark)])
        os._exit(0)
    status, steps = os.waitpid(child, 0)[1], steps + 1
    inbox = Inbox.open(url)
    with inbox.engine.connect() as connection:
        print(*(connection.execute(text(f"SELECT count(*) FROM {t}")).scalar_one() for t in ("challenges", "canaries")))
    inbox.engine.dispose()
"""


def test_killed_at_any_statement_there_is_both_or_neither(inbox_url: str) -> None:
    """A process of its own forks others, each killed one statement later, or at the commit, until one goes through."""
    Inbox.open(inbox_url).engine.dispose()
    run = subprocess.run([sys.executable, "-c", KILLED, inbox_url], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert lines[-1] == "1 1"
    assert set(lines[:-1]) == {"0 0"}
    assert len(lines) > 4


def test_where_the_tables_of_those_lie_that_came_since(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("c-1", MARK), arrival("a")])
    assert Canaries(inbox.engine).keys_since(NOW) == {TableKey.of(C1, NOW)}
    assert Canaries(inbox.engine).keys_since(NOW + timedelta(seconds=1)) == frozenset()


def test_those_that_were_asked_are_judged_newest_first(inbox: Inbox) -> None:
    for number in range(4):
        commit_arrivals(inbox.engine, [arrival(f"c-{number}", MARK, NOW + timedelta(minutes=number))])
    for number in range(3):
        inbox.collected(ChallengeId(f"c-{number}"), (), NOW)
    found = Canaries(inbox.engine).newest(NOW + timedelta(seconds=30), 10)
    assert [(each.id, each.accepted) for each in found] == [("c-2", [{"number": 42}]), ("c-1", [{"number": 42}])]
    assert [each.id for each in Canaries(inbox.engine).newest(NOW, 1)] == ["c-2"]


def test_how_often_each_question_was_put_in(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival(f"c-{n}", CanaryMark([1], "b" * 64)) for n in range(3)])
    assert Canaries(inbox.engine).asked_of({"a" * 64, "b" * 64}) == {"b" * 64: 3}


def test_only_what_others_pushed_is_copied(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("c-1", MARK), arrival("old", at=NOW - timedelta(days=1)), arrival("a")])
    found = Canaries(inbox.engine).pushed_lately(NOW - timedelta(hours=1), 10)
    assert [request["id"] for request, _ in found] == ["a"]


@pytest.mark.parametrize("kind", [DeliveryKind.RESPONSE_BATCH, DeliveryKind.CALLBACK])
def test_nobody_is_told_of_a_canary_and_it_is_done(inbox: Inbox, outbox: Outbox, kind: DeliveryKind) -> None:
    commit_arrivals(inbox.engine, [arrival("c-1", MARK), arrival("c-2")])
    for each in ("c-1", "c-2"):
        with inbox.engine.begin() as connection:
            advance(connection, ChallengeId(each), ChallengeState.COLLECTED, NOW)
    assert not outbox.keep_result(C1, b"{}", NOW, kind, to_present=True)
    assert not outbox.keep_heatmap(C1, b"{}", NOW)
    assert outbox.keep_result(ChallengeId("c-2"), b"{}", NOW, kind)
    assert [each.key for each in outbox.lease(NOW, 10)] == ["c-2"]
    assert outbox.result_of(C1) is None
    row = inbox.get(C1)
    assert (row.state, row.scored_at) == (ChallengeState.SUBMITTED, NOW)
    assert inbox.stalled(NOW + timedelta(days=1), 10) == []
    assert not outbox.keep_result(C1, b"{}", NOW + timedelta(days=1), kind), "scored again, it is told again to nobody"


def test_nobody_is_told_of_a_canary_that_was_given_up(inbox: Inbox, outbox: Outbox) -> None:
    commit_arrivals(inbox.engine, [arrival("c-1", MARK)])
    with inbox.engine.begin() as connection:
        assert not keep_first_result(connection, C1, b"{}", NOW)
    assert outbox.lease(NOW, 10) == []


def test_a_nonce_is_of_no_canary(inbox: Inbox) -> None:
    """A replayed push beside a canary of another id costs the canary nothing."""
    nonce = Nonce(Hotkey("5A"), "1.5", NOW + timedelta(seconds=60))
    commit_arrivals(inbox.engine, [arrival("a", nonce=nonce)])
    commit_arrivals(inbox.engine, [arrival("b", nonce=nonce), arrival("c-1", MARK)])
    assert C1 in Canaries(inbox.engine)

"""Figures are the same however much of the past stands in the totals, whoever folds it and whoever is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.figures import InboxStats
from loosh_pipeline.store.inbox import Inbox, advance_to_scored, advance_to_submitted
from loosh_pipeline.store.runs import Runs
from loosh_pipeline.store.schema import challenges, totals
from tests.builders import response

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = NOW + timedelta(days=3)


def submitted(inbox: Inbox, *ids: str, at: datetime = NOW) -> None:
    for each in map(ChallengeId, ids):
        inbox.accept(each, {"id": each, "prompt": "why?"}, at)
        inbox.collected(each, [response(f"hotkey-{n}", elapsed_ms=100.0 + n) for n in range(3)], at)
        with inbox.engine.begin() as connection:
            advance_to_scored(connection, each, at)
            advance_to_submitted(connection, each, at, at)


def folded(inbox: Inbox) -> set[str]:
    with inbox.engine.connect() as connection:
        return set(connection.execute(select(challenges.c.id).where(challenges.c.folded_at.is_not(None))).scalars())


def counted(inbox: Inbox) -> InboxStats:
    """The same figures, of all rows."""
    names = ("asked", "answered", "elapsed_ms_sum")
    query = select(
        challenges.c.state, func.count().label("number"), *(func.sum(challenges.c[n]).label(n) for n in names)
    )
    with inbox.engine.connect() as connection:
        rows = connection.execute(query.group_by(challenges.c.state)).all()
    by_state = {ChallengeState(row.state): int(row.number) for row in rows}
    answered = sum(int(row.answered) for row in rows)
    elapsed_ms = sum(float(row.elapsed_ms_sum) for row in rows)
    queued = sum(by_state.get(ChallengeState(state), 0) for state in ("received", "dispatched", "collected"))
    asked = sum(int(row.asked) for row in rows)
    return InboxStats(
        sum(by_state.values()), queued, by_state, asked, answered, elapsed_ms / answered if answered else 0.0
    )


def test_only_what_was_submitted_before_then_is_folded_and_no_figure_changes(inbox: Inbox) -> None:
    submitted(inbox, "old-1", "old-2", "old-3")
    submitted(inbox, "young", at=LATER)
    inbox.accept(ChallengeId("waits"), {"id": "waits", "prompt": "why?"}, NOW)
    before = inbox.stats()
    assert before == counted(inbox)
    assert inbox.fold(LATER, LATER, 2) == 2
    assert inbox.fold(LATER, LATER, 2) == 1
    assert inbox.fold(LATER, LATER, 2) == 0
    assert folded(inbox) == {"old-1", "old-2", "old-3"}
    assert inbox.stats() == before
    assert before.by_state == {ChallengeState.SUBMITTED: 4, ChallengeState.RECEIVED: 1}
    assert (before.asked, before.answered, before.total, before.queued) == (12, 12, 5, 1)


def test_no_figures_without_challenges(inbox: Inbox) -> None:
    assert inbox.fold(LATER, LATER, 10) == 0
    assert inbox.stats() == InboxStats(0, 0, {}, 0, 0, 0.0)


def _run_again(inbox: Inbox) -> None:
    Runs(inbox.engine).begin(ChallengeId("c-1"), "run-2", None, LATER, lambda _: True)


def _collected_again(inbox: Inbox) -> None:
    inbox.collected(ChallengeId("c-1"), [response(f"other-{n}") for n in range(9)], LATER)


def _scored_again(inbox: Inbox) -> None:
    with inbox.engine.begin() as connection:
        advance_to_scored(connection, ChallengeId("c-1"), LATER)
        advance_to_submitted(connection, ChallengeId("c-1"), LATER, LATER)


def _given_up(inbox: Inbox) -> None:
    inbox.retry(inbox.get(ChallengeId("c-1")), "dead", LATER, 0)


CHANGES: list[Callable[[Inbox], object]] = [
    _run_again,
    _collected_again,
    _scored_again,
    _given_up,
    lambda inbox: inbox.unpark(LATER),
    lambda inbox: inbox.seen_alive(inbox.get(ChallengeId("c-1")), LATER),
    lambda inbox: Runs(inbox.engine).claim(LATER, 9, 9),
]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_that_is_done_with_a_folded_challenge_changes_what_it_comes_to(
    inbox: Inbox, change: Callable[[Inbox], object]
) -> None:
    submitted(inbox, "c-1", "c-2")
    inbox.fold(LATER, LATER, 10)
    before = inbox.stats()
    change(inbox)
    assert inbox.stats() == counted(inbox) == before


def test_what_was_never_collected_is_not_folded_as_it_may_be_yet(inbox: Inbox) -> None:
    each = ChallengeId("c-1")
    inbox.accept(each, {"id": each, "prompt": "why?"}, NOW)
    with inbox.engine.begin() as connection:
        advance_to_scored(connection, each, NOW)
        advance_to_submitted(connection, each, NOW, NOW)
    assert inbox.fold(LATER, LATER, 10) == 0
    _collected_again(inbox)
    assert inbox.fold(LATER, LATER, 10) == 1
    assert inbox.stats() == counted(inbox)


def test_two_at_once_fold_each_once_while_others_read(inbox: Inbox, inbox_url: str) -> None:
    submitted(inbox, *(f"c-{number}" for number in range(60)))
    expected, begin, moved, seen = inbox.stats(), threading.Barrier(3), [], []

    def fold() -> None:
        own = Inbox.open(inbox_url)
        begin.wait(10)
        for _ in range(30):
            moved.append(own.fold(LATER, LATER, 4))
        own.engine.dispose()

    workers = [threading.Thread(target=fold) for _ in range(2)]
    for worker in workers:
        worker.start()
    begin.wait(10)
    while any(worker.is_alive() for worker in workers):
        seen.append(inbox.stats())
    assert sum(moved) == 60
    assert {(each.total, each.asked, each.answered) for each in (*seen, inbox.stats())} == {
        (expected.total, expected.asked, expected.answered)
    }


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
import loosh_pipeline.store.figures as figures
from loosh_pipeline.store.inbox import Inbox
add = figures._add_to_totals
def killed(*arguments):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
figures._add_to_totals = killed
at = datetime(2026, 3, 7, tzinfo=UTC)
Inbox.open(sys.argv[1]).fold(at, at, 10)
"""


@pytest.mark.parametrize("before", ["pass", "add(*arguments)"])
def test_killed_in_the_middle_nothing_was_folded(inbox: Inbox, inbox_url: str, before: str) -> None:
    submitted(inbox, "c-1", "c-2")
    expected = inbox.stats()
    ended = subprocess.run([sys.executable, "-c", KILLED.format(before=before), inbox_url], timeout=60, check=False)
    assert ended.returncode == -9
    assert (folded(inbox), inbox.stats()) == (set(), expected)
    with inbox.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(totals)).scalar() == 0
    assert inbox.fold(LATER, LATER, 10) == 2
    assert inbox.stats() == expected

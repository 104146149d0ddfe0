"""What statements read does not grow with what is long over.

Steps of SQLite's own machine are counted: a call with many rows of history must take as many as one with few.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import event

from loosh_pipeline.domain import RESULTS, ChallengeId, ChallengeState, DeliveryKind, Hotkey
from loosh_pipeline.store.inbox import WITHOUT_SCORES, Inbox
from loosh_pipeline.store.listing import Listing, Place, Wanted
from loosh_pipeline.store.moments import ids_in
from loosh_pipeline.store.outbox import NEVER, Outbox, OutboxState
from loosh_pipeline.store.presenting import Presenting
from loosh_pipeline.store.runs import Runs
from loosh_pipeline.store.schema import challenges, outbox, submissions
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from tests.sqlite_steps import steps

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FEW, MANY = 60, 3000
PARKED = 5
MORE = 1.3
"""A deeper tree takes a step or two more."""
DAY = timedelta(days=1)
OWN = Hotkey("5Own")

Call = Callable[[Inbox], object]
CALLS: Mapping[str, Call] = {
    "recent": lambda inbox: inbox.recent(20),
    "listed": lambda inbox: Listing(inbox.engine).find(Wanted(), 20),
    "listed_by_state": lambda inbox: [
        Listing(inbox.engine).find(Wanted(state), 4) for state in (ChallengeState.FAILED, ChallengeState.SUBMITTED)
    ],
    "listed_by_day": lambda inbox: Listing(inbox.engine).find(Wanted(since=NOW + DAY, until=NOW + 2 * DAY), 20),
    "listed_further": lambda inbox: Listing(inbox.engine).find(
        Wanted(ChallengeState.SUBMITTED), 10, Place(NOW - 100 * DAY, ChallengeId("x"))
    ),
    "listed_without_canaries": lambda inbox: Listing(inbox.engine, canaries=False).find(Wanted(), 20),
    "beginning_with": lambda inbox: Listing(inbox.engine).beginning_with("past-", 20),
    "backlog": lambda inbox: Listing(inbox.engine).backlog(),
    "hours": lambda inbox: Listing(inbox.engine).hours(NOW + 2 * DAY, 24, 100),
    "latencies": lambda inbox: Listing(inbox.engine).latencies_s(NOW - 400 * DAY, NOW, 20),
    "results_of": lambda inbox: Outbox(inbox.engine).results_of([ChallengeId(f"past-{n}") for n in range(20)]),
    "stalled": lambda inbox: inbox.stalled(NOW, 25, NOW),
    "parked": Inbox.parked,
    "oldest_waiting": Inbox.oldest_waiting,
    "moved_since": lambda inbox: inbox.moved_since(NOW - DAY),
    "waiting": Inbox.waiting,
    "scored_since": lambda inbox: inbox.scored_since(NOW - 400 * DAY, 20),
    "ids_in": lambda inbox: ids_in(inbox.engine, WITHOUT_SCORES, 100),
    "queue": lambda inbox: Runs(inbox.engine).queue(NOW),
    "claim": lambda inbox: Runs(inbox.engine).claim(NOW, 16, 10),
    "unscored": lambda inbox: Runs(inbox.engine).unscored(["past-3"]),
    "presenting": lambda inbox: (Presenting(inbox.engine).oldest(), Presenting(inbox.engine).newest(50)),
    "undelivered": lambda inbox: Outbox(inbox.engine).undelivered_counts(RESULTS),
    "refused": lambda inbox: Outbox(inbox.engine).refused(10),
    "has_due": lambda inbox: Outbox(inbox.engine).has_due(NOW),
    "forget": lambda inbox: Outbox(inbox.engine).forget(NOW),
    "lease": lambda inbox: Outbox(inbox.engine).lease(NOW, 10),
    "lease_one": lambda inbox: Outbox(inbox.engine).lease(NOW, 1, ChallengeId("past-3")),
    "waiting_to_be_told": lambda inbox: Outbox(inbox.engine).waiting(10),
    "keep_result": lambda inbox: Outbox(inbox.engine).keep_result(ChallengeId("past-5"), b"x", NOW),
    "keep_heatmap": lambda inbox: Outbox(inbox.engine).keep_heatmap(ChallengeId("past-4"), b"x", NOW),
    "keep_reports": lambda inbox: Outbox(inbox.engine).keep_reports(DeliveryKind.SYBIL_REPORT, {"a": b"x"}, NOW),
    "submitted": lambda inbox: Submissions(inbox.engine).recent(1, OWN, genesis_hash="0x1"),
    "signers": lambda inbox: Submissions(inbox.engine).signers(1, "0x1"),
}


def past(count: int, path: Path) -> Inbox:
    """An inbox with so many challenges of a year, all told, and as many submissions of weights."""
    inbox = Inbox.open(f"sqlite:///{path / f'{count}.db'}")
    rows = [_challenge(number, count) for number in range(count)]
    told = [
        {"kind": kind, "key": row["id"], "challenge_id": row["id"], "payload": b"", "state": OutboxState.DELIVERED}
        | {"attempts": 1, "created_at": row["received_at"], "next_attempt_at": NEVER, "delivered_at": NOW}
        for row in rows
        for kind in (DeliveryKind.RESPONSE_BATCH, DeliveryKind.HEATMAP)
        if row["id"] not in ("past-4", "past-5")
    ]
    with inbox.engine.begin() as connection:
        connection.execute(challenges.insert(), rows)
        connection.execute(outbox.insert(), told)
        connection.execute(submissions.insert(), [_submission(number) for number in range(count)])
    return inbox


def _challenge(number: int, count: int) -> dict[str, Any]:
    at = NOW - 365 * DAY * (count - number) / count
    state = ChallengeState.FAILED if number < PARKED else ChallengeState.SUBMITTED
    about = {"id": f"past-{number}", "request": {"prompt": "?"}, "state": state, "attempts": 1, "asked": 7}
    times = dict.fromkeys(("received_at", "state_changed_at", "collected_at", "scored_at", "submitted_at"), at)
    return about | times | {"answered": 7, "elapsed_ms_sum": 1.0}


def _submission(number: int) -> dict[str, Any]:
    about = {"netuid": 1, "hotkey": OWN, "genesis_hash": "0x1", "block": number, "digest": "d", "state": "observed"}
    plan = {"version_key": 1, "weights": [[1, "5Miner", 1.0]], "dropped": {}}
    counts = {"spec_version": 1, "reveal_period_epochs": 1, "fence": 1, "seen_block": 1}
    times = dict.fromkeys(("created_at", "changed_at", "seen_at"), NOW)
    return about | counts | times | {"plan": plan, "reason": "", "commit_reveal": False}


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inbox, Inbox]:
    path = tmp_path_factory.mktemp("growth")
    return past(FEW, path), past(MANY, path)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_reads_no_more_for_a_longer_past(name: str, few_and_many: tuple[Inbox, Inbox]) -> None:
    few, many = (steps(lambda inbox=inbox: CALLS[name](inbox)) for inbox in few_and_many)
    assert few > 0
    assert many <= MORE * few, f"{few} steps became {many}"


def test_the_figures_of_a_day_read_an_index_and_no_request(few_and_many: tuple[Inbox, Inbox]) -> None:
    _, many = few_and_many
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.extend(row[3] for row in rows if " challenges " in row[3])

    event.listen(many.engine, "before_cursor_execute", explain)
    Listing(many.engine).hours(NOW, 3, 10)
    event.remove(many.engine, "before_cursor_execute", explain)
    assert plans
    by_time = "USING COVERING INDEX challenges_received_at (received_at>? AND received_at<?)"
    scored = "USING COVERING INDEX challenges_scored (scored_at>? AND scored_at<?)"
    assert {index for index in (by_time, scored) for each in plans if index in each} == {by_time, scored}
    assert all(by_time in each or scored in each for each in plans), plans


def test_what_was_delivered_is_counted_without_its_rows(few_and_many: tuple[Inbox, Inbox]) -> None:
    _, many = few_and_many
    counted = Outbox(many.engine).counts(RESULTS)
    assert counted[OutboxState.DELIVERED] == MANY - 2
    with sqlite3.connect(str(many.engine.url.database)) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT state, count(*) FROM outbox WHERE kind IN ('a', 'b') GROUP BY state"
        ).fetchall()
    assert any("COVERING INDEX outbox_counts" in row[3] for row in plan), plan


def test_signers_are_those_of_the_chain_asked_for(tmp_path: Path) -> None:
    inbox = Inbox.open(f"sqlite:///{tmp_path / 'x.db'}")
    of = [("5B", "0x1", 1), ("5A", "0x1", 1), ("5A", "0x2", 1), ("5C", "0x2", 1), ("5D", "0x1", 2)]
    rows = [_submission(0) | {"hotkey": hotkey, "genesis_hash": chain, "netuid": net} for hotkey, chain, net in of]
    with inbox.engine.begin() as connection:
        connection.execute(submissions.insert(), rows)
    ledger = Submissions(inbox.engine)
    assert ledger.signers(1) == {"5A", "5B", "5C"}
    assert ledger.signers(1, "0x1") == {"5A", "5B"}
    assert ledger.signers(3) == frozenset()


def test_the_newest_table_is_found_without_a_look_at_older_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(str(tmp_path))
    for number in range(30):
        at = NOW - number * DAY
        tables.write("metagraph", TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-1", at), pl.DataFrame({"number": [number]}))
    listed: list[str] = []
    directories, files = tables.objects.directories, tables.objects.listed
    monkeypatch.setattr(tables.objects, "directories", lambda path: listed.append(path) or directories(path))
    monkeypatch.setattr(tables.objects, "listed", lambda path, *more: listed.append(path) or files(path, *more))
    newest = tables.latest("metagraph")
    assert newest is not None
    assert newest["number"][0] == 0
    # The asset, and of one day what lies alone and what lies in parts.
    assert len(listed) <= 3, listed

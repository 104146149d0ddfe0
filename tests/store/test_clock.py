"""After a clock that was ahead is set back, nothing waits for the time that it had shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.errors import NotTheWriter
from loosh_pipeline.store.clock import pull_back, remove_later_looks
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.frames import metagraph_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.schema import outbox as outbox_table
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import NOON, metagraph
from tests.claims import claim, due

AHEAD = NOON + timedelta(hours=1)
SLIGHTLY_AHEAD = NOON + timedelta(minutes=5)
LEASE = timedelta(minutes=5)
C1, C2 = ChallengeId("c-1"), ChallengeId("c-2")


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{tmp_path}/v.db")
    yield inbox
    inbox.engine.dispose()


def put_right(inbox: Inbox) -> int:
    return pull_back(inbox.engine, NOON, LEASE)


def test_a_challenge_that_came_or_was_put_off_ahead_is_due(inbox: Inbox) -> None:
    inbox.accept(C1, {"id": "c-1", "prompt": "hi"}, AHEAD)
    inbox.accept(C2, {"id": "c-2", "prompt": "hi"}, NOON)
    assert claim(inbox, C2, SLIGHTLY_AHEAD) == 1
    inbox.retry(inbox.get(C2), "its run died", SLIGHTLY_AHEAD, max_attempts=9)
    assert due(inbox, NOON) == ["c-1"], "which is new; the other might have been put off for so long"
    assert put_right(inbox) > 0
    assert due(inbox, NOON) == ["c-2", "c-1"]
    assert inbox.oldest_waiting() == NOON
    assert inbox.get(C1).received_at == AHEAD, "by this its tables are found"


def test_a_run_that_was_requested_ahead_is_looked_after(inbox: Inbox) -> None:
    inbox.accept(C1, {"id": "c-1", "prompt": "hi"}, NOON)
    claim(inbox, C1, AHEAD)
    put_right(inbox)
    assert [row.id for row in inbox.stalled(NOON + timedelta(seconds=1), 9)] == ["c-1"]


def test_a_result_that_was_put_off_ahead_is_told(inbox: Inbox) -> None:
    outbox = Outbox(inbox.engine)
    inbox.accept(C1, {"id": "c-1", "prompt": "hi"}, NOON)
    outbox.keep_result(C1, b"{}", NOON)
    (row,) = outbox.lease(AHEAD, 1)
    outbox.postpone(row, "429", AHEAD, retry_after_s=60.0)
    assert not outbox.has_due(NOON)
    put_right(inbox)
    (again,) = outbox.lease(NOON, 1)
    outbox.delivered(again, "", NOON)
    assert inbox.get(C1).state is ChallengeState.SUBMITTED
    kept_until = _next_attempt_at(inbox)
    put_right(inbox)
    assert _next_attempt_at(inbox) == kept_until, "what is done waits for nothing"


def _next_attempt_at(inbox: Inbox) -> datetime:
    with reading(inbox.engine) as connection:
        of = select(outbox_table.c.next_attempt_at).where(outbox_table.c.kind == DeliveryKind.RESPONSE_BATCH)
        return connection.execute(of).scalar_one()


def test_a_lease_lasts_no_longer_than_one_that_is_taken_now(inbox: Inbox) -> None:
    leases = Leases(inbox.engine)
    leases.take("weights", "killed", AHEAD, LEASE)
    put_right(inbox)
    with pytest.raises(NotTheWriter):
        leases.take("weights", "next", NOON, LEASE)
    assert leases.take("weights", "next", NOON + LEASE, LEASE).fence == 2


def test_nothing_is_changed_where_nothing_is_ahead(inbox: Inbox) -> None:
    inbox.accept(C1, {"id": "c-1", "prompt": "hi"}, NOON)
    assert put_right(inbox) == 0


def test_looks_at_the_world_that_are_dated_ahead_are_removed(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path / "tables"))
    for at in (NOON - timedelta(hours=1), AHEAD, AHEAD + timedelta(days=400)):
        key = TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-7", at)
        tables.write("metagraph", key, metagraph_frame(metagraph()))
    nameless = TableKey(NOON.date(), "~" + "a" * 64)
    tables.write("metagraph", nameless, metagraph_frame(metagraph()))
    assert remove_later_looks(tables, NOON) == 2
    tables.remove("metagraph", nameless)
    assert [key.name for key in tables.newest_first("metagraph")] == [f"{NOON - timedelta(hours=1):%Y%m%dT%H%M%S%f}-7"]

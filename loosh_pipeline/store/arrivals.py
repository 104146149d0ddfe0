"""Committing many challenges in one transaction: one wait for the disk serves all who arrived meanwhile.

Each is judged by itself: one that is a duplicate, or whose nonce was used before, leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, select
from sqlalchemy.dialects import postgresql

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import DuplicateChallenge, NonceUsed, StoreError
from loosh_pipeline.store.inbox import new_row
from loosh_pipeline.store.nonces import Nonce, record_nonces, used_before
from loosh_pipeline.store.schema import challenges


@dataclass(frozen=True, slots=True)
class Arrival:
    """A challenge that was checked and is to be kept; `nonce` is what its sender signed, if anything."""

    id: ChallengeId
    request: dict[str, Any]
    received_at: datetime
    nonce: Nonce | None = None


TIMES = ("received_at", "state_changed_at", "next_run_at")

Verdict = StoreError | None
"""Why an arrival was not kept: DuplicateChallenge or NonceUsed. None: it is on disk."""


def commit_arrivals(engine: Engine, arrivals: Sequence[Arrival]) -> list[Verdict]:
    """Keep what is new, in one transaction; a verdict for each, in order.

    Of two with the same id, or nonce, the first is kept. What is sent again as it was, because its sender heard no
    answer, is a duplicate rather than a replay: it is there. Raises SQLAlchemyError when nothing could be committed.
    """
    with engine.begin() as connection:
        replayed = _replayed(connection, arrivals)
        fresh = {each.id: each for each in reversed(arrivals) if id(each) not in replayed}
        there = _there(connection, [each.id for each in arrivals if id(each) in replayed])
        kept = _insert(connection, list(reversed(fresh.values())))
    return [_verdict(each, replayed, there, fresh, kept) for each in arrivals]


def _replayed(connection: Connection, arrivals: Sequence[Arrival]) -> set[int]:
    """Identities of arrivals whose nonce was used before, by another of them or earlier."""
    first: dict[tuple[str, str], Arrival] = {}
    replayed = set()
    for arrival, nonce in _with_nonce(arrivals):
        if first.setdefault((nonce.hotkey, nonce.value), arrival) is not arrival:
            replayed.add(id(arrival))
    new = record_nonces(connection, [nonce for _, nonce in _with_nonce(list(first.values()))])
    return replayed | {id(arrival) for key, arrival in first.items() if key not in new}


def _there(connection: Connection, ids: Collection[ChallengeId]) -> Collection[str]:
    """Those of the ids that are kept already."""
    if not ids:
        return ()
    return set(connection.execute(select(challenges.c.id).where(challenges.c.id.in_(set(ids)))).scalars())


def _with_nonce(arrivals: Sequence[Arrival]) -> Iterator[tuple[Arrival, Nonce]]:
    return ((arrival, arrival.nonce) for arrival in arrivals if arrival.nonce is not None)


def _insert(connection: Connection, fresh: Sequence[Arrival]) -> Collection[str]:
    """Insert challenges, all of different ids; returns the ids that are new."""
    if not fresh:
        return ()
    if connection.dialect.name == "sqlite":
        return _insert_sqlite(connection, fresh)
    rows = [new_row(each.id, each.request, each.received_at) for each in fresh]
    statement = postgresql.insert(challenges).on_conflict_do_nothing().returning(challenges.c.id)
    return set(connection.execute(statement, rows).scalars())


def _insert_sqlite(connection: Connection, fresh: Sequence[Arrival]) -> Collection[str]:
    """The same in two statements: after each, the thread waits for Python's lock, which the event loop keeps busy.

    The transaction holds SQLite's write lock, so nobody adds an id between the two.
    """
    ids = tuple(each.id for each in fresh)
    known = connection.exec_driver_sql(f"SELECT id FROM challenges WHERE id IN ({_listed(len(ids))})", ids)
    present = set(known.scalars())
    new = [each for each in fresh if each.id not in present]
    if new:
        connection.exec_driver_sql(_insertion(len(new)), tuple(_values(connection.dialect, new)))
    return {each.id for each in new}


@lru_cache(maxsize=256)
def _insertion(rows: int) -> str:
    """Inserts what `new_row` says, of which only id, request and time differ from row to row."""
    template = new_row(ChallengeId(""), {}, datetime.now(UTC))
    given = {"id": "column1", "request": "column2", **dict.fromkeys(TIMES, "column3")}
    values = (
        given.get(name) or (f"'{value}'" if isinstance(value, str) else str(value)) for name, value in template.items()
    )
    lines = ", ".join(["(?, ?, ?)"] * rows)
    return f"INSERT INTO challenges ({', '.join(template)}) SELECT {', '.join(values)} FROM (VALUES {lines})"


def _values(dialect: Dialect, arrivals: Sequence[Arrival]) -> Iterator[Any]:
    """Id, request and time of each, as their columns hand them to the driver."""
    request = challenges.c.request.type.dialect_impl(dialect).bind_processor(dialect)
    time = challenges.c.received_at.type.dialect_impl(dialect).bind_processor(dialect)
    assert request is not None
    assert time is not None
    for each in arrivals:
        yield each.id
        yield request(each.request)
        yield time(each.received_at)


def _listed(count: int) -> str:
    return ", ".join("?" * count)


def _verdict(
    arrival: Arrival,
    replayed: Collection[int],
    there: Collection[str],
    fresh: dict[ChallengeId, Arrival],
    kept: Collection[str],
) -> Verdict:
    first = fresh.get(arrival.id)
    if id(arrival) in replayed and arrival.id not in there and (first is None or first.nonce != arrival.nonce):
        assert arrival.nonce is not None
        return NonceUsed(used_before(arrival.nonce))
    if first is arrival and arrival.id in kept:
        return None
    return DuplicateChallenge(f"Challenge {arrival.id} already exists")

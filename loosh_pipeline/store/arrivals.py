"""Committing many challenges in one transaction: one wait for the disk serves all who arrived meanwhile.

Each is judged by itself: one that is a duplicate, or whose nonce was used before, leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql, sqlite

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


Verdict = StoreError | None
"""Why an arrival was not kept: DuplicateChallenge or NonceUsed. None: it is on disk."""


def commit_arrivals(engine: Engine, arrivals: Sequence[Arrival]) -> list[Verdict]:
    """Keep what is new, in one transaction; a verdict for each, in order.

    Of two with the same id, or nonce, the first is kept. Raises SQLAlchemyError when nothing could be committed.
    """
    with engine.begin() as connection:
        replayed = _replayed(connection, arrivals)
        fresh = {each.id: each for each in reversed(arrivals) if id(each) not in replayed}
        kept = _insert(connection, list(reversed(fresh.values())))
    return [_verdict(each, replayed, fresh, kept) for each in arrivals]


def _replayed(connection: Connection, arrivals: Sequence[Arrival]) -> set[int]:
    """Identities of arrivals whose nonce was used before, by another of them or earlier."""
    first: dict[tuple[str, str], Arrival] = {}
    replayed = set()
    for arrival, nonce in _with_nonce(arrivals):
        if first.setdefault((nonce.hotkey, nonce.value), arrival) is not arrival:
            replayed.add(id(arrival))
    new = record_nonces(connection, [nonce for _, nonce in _with_nonce(list(first.values()))])
    return replayed | {id(arrival) for key, arrival in first.items() if key not in new}


def _with_nonce(arrivals: Sequence[Arrival]) -> Iterator[tuple[Arrival, Nonce]]:
    return ((arrival, arrival.nonce) for arrival in arrivals if arrival.nonce is not None)


def _insert(connection: Connection, fresh: Sequence[Arrival]) -> Collection[str]:
    """Insert challenges, all of different ids; returns the ids that are new."""
    if not fresh:
        return ()
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(challenges).on_conflict_do_nothing().returning(challenges.c.id)
    rows = [new_row(each.id, each.request, each.received_at) for each in fresh]
    return set(connection.execute(statement, rows).scalars())


def _verdict(
    arrival: Arrival, replayed: Collection[int], fresh: dict[ChallengeId, Arrival], kept: Collection[str]
) -> Verdict:
    if id(arrival) in replayed:
        assert arrival.nonce is not None
        return NonceUsed(used_before(arrival.nonce))
    if fresh[arrival.id] is arrival and arrival.id in kept:
        return None
    return DuplicateChallenge(f"Challenge {arrival.id} already exists")

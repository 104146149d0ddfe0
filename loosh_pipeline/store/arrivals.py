"""Committing many challenges in one transaction: one wait for the disk serves all who arrived meanwhile.

Each is judged by itself: one that is a duplicate, or whose nonce was used before, leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import DuplicateChallenge, NonceUsed, StoreError
from loosh_pipeline.store.accepting import Candidate, accept, accepting
from loosh_pipeline.store.canaries import CanaryMark, mark
from loosh_pipeline.store.nonces import Nonce, record_nonces, used_before
from loosh_pipeline.store.schema import challenges


@dataclass(frozen=True, slots=True)
class Arrival:
    """A challenge that was checked and is to be kept; `nonce` is what its sender signed, if anything.

    `canary`: of one that the validator puts in itself.
    """

    id: ChallengeId
    request: dict[str, Any]
    received_at: datetime
    nonce: Nonce | None = None
    canary: CanaryMark | None = None


Verdict = Link | StoreError
"""The link of an arrival that is on disk, or why it was not kept: DuplicateChallenge or NonceUsed."""


def commit_arrivals(engine: Engine, arrivals: Sequence[Arrival]) -> list[Verdict]:
    """Keep what is new, in one transaction; a verdict for each, in order.

    Of two with the same id, or nonce, the first is kept. What is sent again as it was, because its sender heard no
    answer, is a duplicate rather than a replay: it is there. Raises SQLAlchemyError when nothing could be committed.
    """
    candidates = {id(each): _candidate(each) for each in arrivals}
    with accepting(engine) as connection:
        replayed = _replayed(connection, arrivals)
        fresh: dict[ChallengeId, Arrival] = {}
        for each in arrivals:
            if id(each) not in replayed:
                fresh.setdefault(each.id, each)
        there = _there(connection, [each.id for each in arrivals if id(each) in replayed])
        kept = accept(connection, [candidates[id(each)] for each in fresh.values()])
        for each in fresh.values():
            if each.canary is not None and each.id in kept:
                mark(connection, each.id, each.canary, each.received_at)
    return [_verdict(each, replayed, there, fresh, kept) for each in arrivals]


def _candidate(arrival: Arrival) -> Candidate:
    known = "" if arrival.canary is None else arrival.canary.known
    return Candidate.of(arrival.id, arrival.request, arrival.received_at, known)


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


def _verdict(
    arrival: Arrival,
    replayed: Collection[int],
    there: Collection[str],
    fresh: dict[ChallengeId, Arrival],
    kept: Mapping[ChallengeId, Link],
) -> Verdict:
    first = fresh.get(arrival.id)
    if id(arrival) in replayed and arrival.id not in there and (first is None or first.nonce != arrival.nonce):
        assert arrival.nonce is not None
        return NonceUsed(used_before(arrival.nonce))
    if first is arrival and (link := kept.get(arrival.id)) is not None:
        return link
    return DuplicateChallenge(f"Challenge {arrival.id} already exists")

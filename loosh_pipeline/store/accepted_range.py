"""The accepted challenges that a window of rounds was drawn from, as links of their chain: none is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from loosh_pipeline.audit.acceptances import BACK_WITHIN, BEFORE_ALL
from loosh_pipeline.audit.content import Acceptance
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.acceptances import (
    OF_ACCEPTANCE,
    WITH_MARKS,
    acceptance_of,
    unlinked_since_the_first,
)
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import challenges

SCORED, BEFORE, CANARY, WAITING, FAILED = "scored", "before", "canary", "waiting", "failed"


@dataclass(frozen=True, slots=True)
class AcceptedRange:
    """A range of the chain without gap, and the digest before its first link."""

    acceptances: tuple[Acceptance, ...]
    link_before: str


def accepted_since(
    engine: Engine,
    since: datetime,
    window: Collection[ChallengeId],
    became: Mapping[int, str] | None = None,
    count: int | None = None,
) -> AcceptedRange:
    """From the last link before anything that came since then to the end of the chain, or `count` of them.

    `window`: the challenges whose rounds are in it. `became`: what became of some links, by number, where that was put
    on record before; it may have changed since. Raises StoreError where a link is missing.
    """
    with reading(engine) as connection:
        if unlinked := sorted(set(unlinked_since_the_first(connection)) & set(window)):
            raise StoreError(
                f"challenge {unlinked[0]} (of {len(unlinked)}) has no link, and came after the chain of accepted "
                "challenges began: an ingress of an older release accepted it; stop that one. Weights that such "
                "challenges decided cannot be proved"
            )
        first = _first(connection, since)
        rows = connection.execute(_rows_from(first, count)).all()
        before = _link(connection, first - 1)
    seqs = [row.seq for row in rows]
    if seqs != list(range(first, first + len(seqs))) or (count is not None and len(seqs) != count):
        raise StoreError(f"the chain of accepted challenges has gaps from link {first} on: see `loosh audit chain`")
    said = became or {}
    return AcceptedRange(tuple(_acceptance(row, since, window, said.get(row.seq)) for row in rows), before)


def _first(connection: Connection, since: datetime) -> int:
    """The last link that came before then by more than clocks differ: no link goes back by as much beside any before
    it, so whatever came since then stands after it.

    Not the first that came since: one link that a clock far ahead dated would be in every range from then on.
    """
    before = select(challenges.c.seq).where(
        challenges.c.seq.is_not(None), challenges.c.received_at < since - BACK_WITHIN
    )
    last: int | None = connection.execute(before.order_by(challenges.c.seq.desc()).limit(1)).scalar_one_or_none()
    return last or 1


def _rows_from(first: int, count: int | None) -> Any:
    query = select(*OF_ACCEPTANCE, challenges.c.state, challenges.c.attempts).select_from(WITH_MARKS)
    return query.where(challenges.c.seq >= first).order_by(challenges.c.seq).limit(count)


def _link(connection: Connection, seq: int) -> str:
    """The digest of a link; the one that the first goes on from where there is none."""
    if seq == BEFORE_ALL.seq:
        return BEFORE_ALL.digest
    found = connection.execute(select(challenges.c.link).where(challenges.c.seq == seq)).scalar_one_or_none()
    if found is None:
        raise StoreError(f"link {seq} of the chain of accepted challenges is missing")
    return str(found)


def _acceptance(row: Row[Any], since: datetime, window: Collection[ChallengeId], became: str | None) -> Acceptance:
    return acceptance_of(row, became or _became(row, since, window))


def _became(row: Row[Any], since: datetime, window: Collection[ChallengeId]) -> str:
    if row.id in window:
        return SCORED
    if row.received_at < since:
        return BEFORE
    if row.known_salt is not None:
        return CANARY
    if row.state == ChallengeState.FAILED:
        # Why is for the operator alone: it may name hosts and files.
        return f"{FAILED}: given up after {row.attempts} attempts"
    return WAITING


def to_remember(acceptances: Collection[Acceptance]) -> dict[int, str]:
    """What became of links that the window and their times do not tell, as it may change."""
    return {each.seq: each.became for each in acceptances if each.became not in (SCORED, BEFORE)}

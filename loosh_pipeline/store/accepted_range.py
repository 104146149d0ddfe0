"""The accepted challenges that a window of rounds was drawn from, as links of their chain: none is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from loosh_pipeline.audit.acceptances import BEFORE_ALL
from loosh_pipeline.audit.content import Acceptance
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import canaries, challenges

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
        first = _first(connection, since)
        rows = connection.execute(_rows_from(first, count)).all()
        before = _link(connection, first - 1)
    seqs = [row.seq for row in rows]
    if seqs != list(range(first, first + len(seqs))) or (count is not None and len(seqs) != count):
        raise StoreError(f"the chain of accepted challenges has gaps from link {first} on; `loosh doctor` says more")
    said = became or {}
    return AcceptedRange(tuple(_acceptance(row, since, window, said.get(row.seq)) for row in rows), before)


def _first(connection: Connection, since: datetime) -> int:
    """Clocks of several ingresses differ by a little, so the order of links is not quite that of times."""
    chained = challenges.c.seq.is_not(None)
    came = select(func.min(challenges.c.seq)).where(challenges.c.received_at >= since, chained)
    first: int | None = connection.execute(came).scalar_one()
    if first is not None:
        return max(1, first - 1)
    last: int | None = connection.execute(select(func.max(challenges.c.seq)).where(chained)).scalar_one()
    return last or 1


def _rows_from(first: int, count: int | None) -> Any:
    names = ("seq", "id", "received_at", "request_sha256", "link", "state", "attempts")
    joined = challenges.outerjoin(canaries, canaries.c.challenge_id == challenges.c.id)
    query = select(*(challenges.c[name] for name in names), canaries.c.challenge_id.label("canary")).select_from(joined)
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
    said = became or _became(row, since, window)
    return Acceptance(row.seq, ChallengeId(row.id), row.received_at, row.request_sha256, row.link, said)


def _became(row: Row[Any], since: datetime, window: Collection[ChallengeId]) -> str:
    if row.id in window:
        return SCORED
    if row.received_at < since:
        return BEFORE
    if row.canary is not None:
        return CANARY
    if row.state == ChallengeState.FAILED:
        # Why is for the operator alone: it may name hosts and files.
        return f"{FAILED}: given up after {row.attempts} attempts"
    return WAITING


def to_remember(acceptances: Collection[Acceptance]) -> dict[int, str]:
    """What became of links that the window and their times do not tell, as it may change."""
    return {each.seq: each.became for each in acceptances if each.became not in (SCORED, BEFORE)}

"""The chain of accepted challenges as a database has it, for a bundle and to be checked; `accepting` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Engine, Row, func, select

from loosh_pipeline.audit.acceptances import BEFORE_ALL, Broken, Link, first_broken
from loosh_pipeline.audit.canonical import request_digest
from loosh_pipeline.audit.content import Acceptance
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import canaries, challenges

SCORED, CANARY, WAITING, FAILED = "scored", "canary", "waiting", "failed: "
"""What became of a challenge; the last with the reason."""
CHANGED = "its request is not the one that was accepted: it was changed"
AT_ONCE = 2000
OF_ACCEPTANCE = tuple(challenges.c[name] for name in ("seq", "id", "received_at", "request_sha256", "link"))


def all_acceptances(connection: Connection) -> Iterator[Acceptance]:
    """The whole chain, in order, some rows at a time."""
    return map(_bare, _chained(connection, OF_ACCEPTANCE))


def _bare(row: Row[Any]) -> Acceptance:
    return Acceptance(row.seq, ChallengeId(row.id), row.received_at, row.request_sha256, row.link)


def _chained(connection: Connection, columns: Sequence[Column[Any]]) -> Iterator[Row[Any]]:
    after = 0
    query = select(*columns).order_by(challenges.c.seq).limit(AT_ONCE)
    while rows := connection.execute(query.where(challenges.c.seq > after)).all():
        yield from rows
        after = rows[-1].seq


def acceptances_between(engine: Engine, since: datetime, until: datetime) -> tuple[Acceptance, ...]:
    """The shortest range of the chain that holds whatever came from `since` on and before `until`, and what became of
    each; before it the link that it goes on from, if there is one. Empty where nothing of that time was chained.

    Times of receipt need not be in the order of the chain, so that others may stand in it, too.
    """
    came = challenges.c.received_at >= since, challenges.c.received_at < until, challenges.c.seq.is_not(None)
    ends = select(func.min(challenges.c.seq), func.max(challenges.c.seq)).where(*came)
    is_canary = canaries.c.challenge_id.is_not(None).label("is_canary")
    told: list[ColumnElement[Any]] = [*OF_ACCEPTANCE, challenges.c.state, challenges.c.failure, is_canary]
    joined = challenges.outerjoin(canaries, canaries.c.challenge_id == challenges.c.id)
    with reading(engine) as connection:
        first, last = connection.execute(ends).one()
        if first is None:
            return ()
        within = challenges.c.seq.between(first - 1, last)
        query = select(*told).select_from(joined).where(within).order_by(challenges.c.seq)
        return tuple(_acceptance(row) for row in connection.execute(query))


def _acceptance(row: Row[Any]) -> Acceptance:
    became = CANARY if row.is_canary else _became(ChallengeState(row.state), row.failure)
    return Acceptance(row.seq, ChallengeId(row.id), row.received_at, row.request_sha256, row.link, became)


def _became(state: ChallengeState, failure: str | None) -> str:
    if state is ChallengeState.FAILED:
        return f"{FAILED}{failure or 'nobody noted why'}"
    return SCORED if state in (ChallengeState.SCORED, ChallengeState.SUBMITTED) else WAITING


@dataclass(frozen=True, slots=True)
class Followed:
    """A chain as far as it holds: how many links, the last of them, and where it breaks, if it does.

    `unchained`: challenges that were accepted before there was a chain.
    """

    links: int
    last: Link | None
    broken: Broken | None
    unchained: int


def first_broken_of(engine: Engine, *, requests: bool = False) -> Followed:
    """Follow the chain of a database from its first link.

    `requests`: whether each request is read, too, and is the one that was accepted; else only its digest is looked at.
    """
    columns = (*OF_ACCEPTANCE, challenges.c.request) if requests else OF_ACCEPTANCE
    before, broken = BEFORE_ALL, None
    with reading(engine) as connection:
        without = select(func.count()).select_from(challenges).where(challenges.c.seq.is_(None))
        unchained = connection.execute(without).scalar_one()
        for row in _chained(connection, columns):
            each = _bare(row)
            broken = first_broken((each,), before)
            if broken is None and requests and request_digest(row.request) != each.request_sha256:
                broken = Broken(each.seq, each.challenge_id, CHANGED)
            if broken is not None:
                break
            before = Link(each.seq, each.digest)
    return Followed(before.seq, None if before is BEFORE_ALL else before, broken, unchained)


def is_link(engine: Engine, link: Link) -> bool:
    """Whether a chain, which is whole, has this link."""
    query = select(challenges.c.link).where(challenges.c.seq == link.seq)
    with reading(engine) as connection:
        return connection.execute(query).scalar_one_or_none() == link.digest

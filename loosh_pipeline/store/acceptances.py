"""The chain of accepted challenges as a database has it, for a bundle and to be checked; `accepting` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, select

from loosh_pipeline.audit.acceptances import BACK_WITHIN, BEFORE_ALL, FIRST_SEQ, Broken, Link, first_broken
from loosh_pipeline.audit.canonical import known_digest, request_digest
from loosh_pipeline.audit.content import Acceptance
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import canaries, challenges

CHANGED = "its request is not the one that was accepted: it was changed"
AT_ONCE = 2000
WITH_MARKS = challenges.outerjoin(canaries, canaries.c.challenge_id == challenges.c.id)
OF_ACCEPTANCE: tuple[ColumnElement[Any], ...] = (
    *(challenges.c[name] for name in ("seq", "id", "received_at", "request_sha256", "link", "commitment", "salt")),
    *(canaries.c.question, canaries.c.accepted, canaries.c.salt.label("known_salt")),
)
"""Of `WITH_MARKS`."""


def acceptance_of(row: Row[Any], became: str = "") -> Acceptance:
    """Of a row of `OF_ACCEPTANCE`."""
    known = "" if row.known_salt is None else known_digest(row.known_salt, row.question, row.accepted)
    return Acceptance(
        seq=row.seq,
        challenge_id=ChallengeId(row.id),
        received_at=row.received_at,
        request_sha256=row.request_sha256,
        digest=row.link,
        became=became,
        commitment=row.commitment or "",
        salt=row.salt or "",
        known=known,
    )


def all_acceptances(connection: Connection) -> Iterator[Acceptance]:
    """The whole chain, in order, some rows at a time."""
    return map(acceptance_of, _chained(connection, OF_ACCEPTANCE))


def _chained(connection: Connection, columns: Sequence[ColumnElement[Any]], after: int = 0) -> Iterator[Row[Any]]:
    query = select(*columns).select_from(WITH_MARKS).order_by(challenges.c.seq).limit(AT_ONCE)
    while rows := connection.execute(query.where(challenges.c.seq > after)).all():
        yield from rows
        after = rows[-1].seq


@dataclass(frozen=True, slots=True)
class Followed:
    """A chain as far as it holds: how many links, the last of them, and where it breaks, if it does.

    `unchained`: challenges that were accepted before there was a chain. `unlinked`: those that came after it began and
    are no part of it. `back`: the first link whose time lies before that of an earlier one, by more than clocks differ.
    """

    links: int
    last: Link | None
    broken: Broken | None
    unchained: int
    unlinked: int = 0
    back: Back | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing that was accepted since the first link is missing from it or was changed."""
        return self.broken is None and self.unlinked == 0


@dataclass(frozen=True, slots=True)
class Back:
    """A link at which a clock had been set back, and by how much since the latest time before it."""

    seq: int
    challenge_id: str
    by: timedelta


def first_broken_of(engine: Engine, *, requests: bool = False) -> Followed:
    """Follow the chain of a database from its first link.

    `requests`: whether each request is read, too, and is the one that was accepted; else only its digest is looked at.
    """
    columns = (*OF_ACCEPTANCE, challenges.c.request) if requests else OF_ACCEPTANCE
    before, broken, latest, back = BEFORE_ALL, None, None, None
    with reading(engine) as connection:
        without = select(func.count()).select_from(challenges).where(challenges.c.seq.is_(None))
        unchained = connection.execute(without).scalar_one()
        unlinked = len(unlinked_since_the_first(connection))
        for row in _chained(connection, columns):
            each = acceptance_of(row)
            broken = first_broken((each,), before)
            if broken is None and requests and request_digest(row.request) != each.request_sha256:
                broken = Broken(each.seq, each.challenge_id, CHANGED)
            if broken is not None:
                break
            before = Link(each.seq, each.digest)
            latest = max(latest or each.received_at, each.received_at)
            if back is None and latest - each.received_at > BACK_WITHIN:
                back = Back(each.seq, each.challenge_id, latest - each.received_at)
    last = None if before is BEFORE_ALL else before
    return Followed(before.seq, last, broken, unchained - unlinked, unlinked, back)


def unlinked_since_the_first(connection: Connection) -> Sequence[ChallengeId]:
    """Challenges that came after the first link and have none: an ingress of an older release accepted them."""
    began = select(challenges.c.received_at).where(challenges.c.seq == FIRST_SEQ).scalar_subquery()
    those = challenges.c.seq.is_(None), challenges.c.received_at > began
    query = select(challenges.c.id).where(*those).order_by(challenges.c.received_at)
    return [ChallengeId(each) for each in connection.execute(query).scalars()]


def newest_links(connection: Connection, links: int) -> tuple[Acceptance, ...]:
    """The last so many links of the chain."""
    last: int = connection.execute(select(func.max(challenges.c.seq))).scalar_one() or 0
    return tuple(acceptance_of(row) for row in _chained(connection, OF_ACCEPTANCE, max(last - links, 0)))


def link_of(engine: Engine, challenge_id: ChallengeId) -> Link | None:
    """The link of a challenge; None where it has none, or was never accepted."""
    query = select(challenges.c.seq, challenges.c.link).where(challenges.c.id == challenge_id)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None or row.seq is None else Link(row.seq, row.link)


def challenge_at(engine: Engine, seq: int) -> ChallengeId | None:
    """Whose link that is."""
    with reading(engine) as connection:
        found = connection.execute(select(challenges.c.id).where(challenges.c.seq == seq)).scalar_one_or_none()
    return None if found is None else ChallengeId(found)


def is_link(engine: Engine, link: Link) -> bool:
    """Whether a chain, which is whole, has this link."""
    query = select(challenges.c.link).where(challenges.c.seq == link.seq)
    with reading(engine) as connection:
        return connection.execute(query).scalar_one_or_none() == link.digest

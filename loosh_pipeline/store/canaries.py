"""Which challenges are canaries, and what is taken for right: the one mark by which they can be told from others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from loosh_pipeline.audit.canonical import known_digest
from loosh_pipeline.canaries.questions import Question
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.accepting import new_salt
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import canaries, challenges
from loosh_pipeline.store.tables import TableKey

LIKE_ONE_OF = 200
"""How many of the challenges that were pushed last a canary may be made after."""
LATELY = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class CanaryMark:
    """What is kept of a canary beside its challenge: the rules of right answers as its file had them, and the digest of
    the question. `salt`: hides both in the digest that the chain commits to.
    """

    accepted: Sequence[Any]
    question: str
    salt: str = field(default_factory=new_salt)

    @property
    def known(self) -> str:
        """What the chain commits to."""
        return known_digest(self.salt, self.question, self.accepted)


@dataclass(frozen=True, slots=True)
class KeptCanary:
    """A canary that was asked, or is to be."""

    id: ChallengeId
    accepted: Sequence[Any]
    received_at: datetime

    @property
    def key(self) -> TableKey:
        return TableKey.of(self.id, self.received_at)


def mark(connection: Connection, challenge_id: ChallengeId, given: CanaryMark, now: datetime) -> None:
    """Mark a challenge, in the transaction that accepts it: none is ever there without its mark."""
    row = {"challenge_id": challenge_id, "accepted": list(given.accepted), "question": given.question}
    connection.execute(canaries.insert().values(row | {"salt": given.salt, "created_at": now}))


def is_canary(connection: Connection, challenge_id: ChallengeId) -> bool:
    """Whether a challenge is one, of which nobody outside is told."""
    found = select(canaries.c.challenge_id).where(canaries.c.challenge_id == challenge_id)
    return connection.execute(found).first() is not None


def no_canary() -> ColumnElement[bool]:
    """Of a row of `challenges`: that it is none."""
    return ~select(canaries.c.challenge_id).where(canaries.c.challenge_id == challenges.c.id).exists()


class Canaries:
    """Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __contains__(self, challenge_id: ChallengeId) -> bool:
        with reading(self._engine) as connection:
            return is_canary(connection, challenge_id)

    def any(self) -> bool:
        """Whether there ever was one."""
        with reading(self._engine) as connection:
            return connection.execute(select(canaries.c.challenge_id).limit(1)).first() is not None

    def among(self, ids: Iterable[ChallengeId]) -> frozenset[ChallengeId]:
        """Those of some challenges, few enough for one query, that are canaries."""
        query = select(canaries.c.challenge_id).where(canaries.c.challenge_id.in_(list(ids)))
        with reading(self._engine) as connection:
            return frozenset(ChallengeId(each) for each in connection.execute(query).scalars())

    def keys_since(self, since: datetime) -> frozenset[TableKey]:
        """Where the tables of those lie that came since then."""
        query = select(canaries.c.challenge_id, canaries.c.created_at).where(canaries.c.created_at >= since)
        with reading(self._engine) as connection:
            return frozenset(TableKey.of(each, came) for each, came in connection.execute(query))

    def newest(self, since: datetime, limit: int) -> Sequence[KeptCanary]:
        """Those that came since then and were put to miners, the newest first."""
        asked = challenges.c.id == canaries.c.challenge_id, challenges.c.collected_at.is_not(None)
        query = (
            select(canaries.c.challenge_id, canaries.c.accepted, challenges.c.received_at)
            .where(*asked, canaries.c.created_at >= since)
            .order_by(canaries.c.created_at.desc(), canaries.c.challenge_id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [KeptCanary(ChallengeId(row.challenge_id), row.accepted, row.received_at) for row in rows]

    def asked_of(self, questions: Collection[str]) -> Mapping[str, int]:
        """How often each of some questions, by digest, was put in; those that never were are not in it."""
        query = select(canaries.c.question, func.count()).group_by(canaries.c.question)
        with reading(self._engine) as connection:
            return {question: count for question, count in connection.execute(query) if question in questions}

    def pushed_lately(self, since: datetime, limit: int) -> Sequence[tuple[Mapping[str, Any], datetime]]:
        """Requests of the newest challenges that others pushed, and when they came."""
        others = challenges.outerjoin(canaries, canaries.c.challenge_id == challenges.c.id)
        query = (
            select(challenges.c.request, challenges.c.received_at)
            .select_from(others)
            .where(canaries.c.challenge_id.is_(None), challenges.c.received_at >= since)
            .order_by(challenges.c.received_at.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [(row.request, row.received_at) for row in connection.execute(query)]


def questions_left(questions: Sequence[Question], kept: Canaries, times: int) -> list[tuple[Question, int]]:
    """Those that may be put in still, each so many times in all, with how often they were."""
    asked = kept.asked_of({each.digest for each in questions})
    return [(each, asked.get(each.digest, 0)) for each in questions if asked.get(each.digest, 0) < times]

"""What inbox and outbox know of one challenge beyond its row: its steps, what was told of it, what came beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, select

from loosh_pipeline.domain import RESULTS, ChallengeId, DeliveryKind
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.canaries import is_canary, no_canary
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.outbox import OutboxState
from loosh_pipeline.store.schema import challenges, outbox

OF_ROUNDS = (*sorted(RESULTS), DeliveryKind.HEATMAP)
"""What is told of a single challenge, under its id."""


@dataclass(frozen=True, slots=True)
class Steps:
    """When each step of a challenge was done; None for what is not done. `to_present_since`: since when its picture and
    its narrative are left to the job that makes many.
    """

    received_at: datetime
    collected_at: datetime | None
    scored_at: datetime | None
    submitted_at: datetime | None
    to_present_since: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How telling one thing of a challenge stands. `detail`: what was said to the last attempt."""

    kind: DeliveryKind
    state: OutboxState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    delivered_at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class Beside:
    """The challenges that came right before and right after one; None at either end."""

    older: ChallengeId | None
    newer: ChallengeId | None


@dataclass(frozen=True, slots=True)
class OneChallenge:
    """All of it."""

    steps: Steps
    deliveries: tuple[Delivery, ...]
    beside: Beside
    canary: bool


def one_challenge(engine: Engine, challenge_id: ChallengeId, *, show_canaries: bool) -> OneChallenge:
    """Raises UnknownChallenge. `show_canaries`: whether one may be named as coming beside it.

    Every query finds its rows by an index, so it takes as long whatever else is stored.
    """
    columns = (challenges.c[name] for name in Steps.__dataclass_fields__)
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(challenges.c.id == challenge_id)).one_or_none()
        if row is None:
            raise UnknownChallenge(f"no challenge {challenge_id!r} was accepted here")
        return OneChallenge(
            steps=Steps(*row),
            deliveries=tuple(_deliveries(connection, challenge_id)),
            beside=_beside(connection, challenge_id, row.received_at, show_canaries),
            canary=is_canary(connection, challenge_id),
        )


def _deliveries(connection: Connection, challenge_id: ChallengeId) -> Sequence[Delivery]:
    # Not the payload, which is a picture of 100 kB.
    columns = (outbox.c[name] for name in Delivery.__dataclass_fields__)
    query = select(*columns).where(outbox.c.kind.in_(OF_ROUNDS), outbox.c.key == challenge_id).order_by(outbox.c.id)
    return [
        Delivery(DeliveryKind(kind), OutboxState(state), attempts, created_at, again_at, delivered_at, detail or "")
        for kind, state, attempts, created_at, again_at, delivered_at, detail in connection.execute(query)
    ]


def _beside(connection: Connection, challenge_id: ChallengeId, at: datetime, show_canaries: bool) -> Beside:
    """In the order of `Listing`: the newest first, and of those of one moment the last id."""
    came, named = challenges.c.received_at, challenges.c.id
    # The first of both conditions is what the index is searched by.
    older = select(named).where(came <= at, (came < at) | (named < challenge_id)).order_by(came.desc(), named.desc())
    newer = select(named).where(came >= at, (came > at) | (named > challenge_id)).order_by(came, named)
    return Beside(*(_first(connection, query, show_canaries) for query in (older, newer)))


def _first(connection: Connection, query: Select[Any], show_canaries: bool) -> ChallengeId | None:
    if not show_canaries:
        query = query.where(no_canary())
    found = connection.execute(query.limit(1)).scalar_one_or_none()
    return None if found is None else ChallengeId(found)

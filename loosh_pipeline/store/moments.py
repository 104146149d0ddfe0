"""When challenges got how far, for figures: few columns of few rows, as a row holds a request that may be large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Engine, select

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import challenges

IDS_AT_ONCE = 500
"""Values in one condition: SQLite takes some thousands."""


@dataclass(frozen=True, slots=True)
class Moments:
    """When a challenge was accepted, and got how far; None: not yet, or never."""

    id: ChallengeId
    state: ChallengeState
    received_at: datetime
    collected_at: datetime | None
    scored_at: datetime | None
    submitted_at: datetime | None
    attempts: int
    asked: int


def ids_in(engine: Engine, states: Sequence[ChallengeState], most: int) -> list[ChallengeId]:
    """Ids of challenges in some states. Reads their rows; not for states in which they end."""
    query = select(challenges.c.id).where(challenges.c.state.in_(states)).limit(most)
    with reading(engine) as connection:
        return [ChallengeId(each) for each in connection.execute(query).scalars()]


def moments(engine: Engine, ids: Sequence[str]) -> list[Moments]:
    """When some challenges got how far, those that there are."""
    columns = [challenges.c[each.name] for each in fields(Moments)]
    found: list[Moments] = []
    with reading(engine) as connection:
        for at in range(0, len(ids), IDS_AT_ONCE):
            query = select(*columns).where(challenges.c.id.in_(ids[at : at + IDS_AT_ONCE]))
            for row in connection.execute(query):
                values = row._asdict()
                found.append(Moments(**values | {"id": ChallengeId(row.id), "state": ChallengeState(row.state)}))
    return found

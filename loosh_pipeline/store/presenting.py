"""Which scored challenges still want their picture and their narrative, where one run makes those of many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine, func, select, update

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import challenges

WAITS = challenges.c.to_present_since.is_not(None)


class Presenting:
    """Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def oldest(self) -> datetime | None:
        """Since when the one that has waited longest waits; None: none does."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.min(challenges.c.to_present_since)).where(WAITS)).scalar_one_or_none()

    def newest(self, limit: int) -> list[ChallengeId]:
        """Those that wait, the newest first."""
        query = select(challenges.c.id).where(WAITS).order_by(challenges.c.received_at.desc()).limit(limit)
        with reading(self._engine) as connection:
            return [ChallengeId(each) for each in connection.execute(query).scalars()]

    def waiting(self, ids: Sequence[str]) -> set[str]:
        """Those of some challenges that wait."""
        query = select(challenges.c.id).where(WAITS, challenges.c.id.in_(ids))
        with reading(self._engine) as connection:
            return set(connection.execute(query).scalars())

    def take(self, challenge_id: ChallengeId) -> bool:
        """Note that one is being made; False when it does not wait any more."""
        taken = update(challenges).where(challenges.c.id == challenge_id, WAITS).values(to_present_since=None)
        with self._engine.begin() as connection:
            return connection.execute(taken).rowcount == 1

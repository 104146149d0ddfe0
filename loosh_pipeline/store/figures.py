"""Figures of everything that was ever accepted, without reading it all: what changes no more stands in the totals.

A challenge stands in the totals or for itself, never in both or in neither, whoever is killed and whoever reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import challenges, totals

WITHOUT_SCORES = (ChallengeState.RECEIVED, ChallengeState.DISPATCHED, ChallengeState.COLLECTED)
ADDED_UP = ("asked", "answered", "elapsed_ms_sum")
"""Columns of a challenge that figures are sums of."""
FOLDABLE = (
    challenges.c.state == ChallengeState.SUBMITTED,
    challenges.c.collected_at.is_not(None),
    challenges.c.folded_at.is_(None),
)
"""It moves no further, and its responses are counted once: nothing changes what it comes to."""


@dataclass(frozen=True, slots=True)
class InboxStats:
    """True figures of everything accepted so far. `mean_elapsed_ms` is over answered requests."""

    total: int
    queued: int
    by_state: Mapping[ChallengeState, int]
    asked: int
    answered: int
    mean_elapsed_ms: float


def figures(engine: Engine) -> InboxStats:
    """The totals, and what does not stand in them."""
    sums = [func.sum(challenges.c[name]).label(name) for name in ADDED_UP]
    unfolded = select(challenges.c.state, func.count().label("challenges"), *sums)
    folded = select(*(totals.c[name] for name in ("state", "challenges", *ADDED_UP)))
    # One statement sees one moment, so that what is folded meanwhile is counted once.
    both = union_all(unfolded.where(challenges.c.folded_at.is_(None)).group_by(challenges.c.state), folded).subquery()
    summed = [func.sum(both.c[name]).label(name) for name in ("challenges", *ADDED_UP)]
    with reading(engine) as connection:
        rows = connection.execute(select(both.c.state, *summed).group_by(both.c.state)).all()
    by_state = {ChallengeState(row.state): int(row.challenges) for row in rows}
    answered = sum(int(row.answered) for row in rows)
    elapsed_ms = sum(float(row.elapsed_ms_sum) for row in rows)
    return InboxStats(
        total=sum(by_state.values()),
        queued=sum(by_state.get(s, 0) for s in WITHOUT_SCORES),
        by_state=by_state,
        asked=sum(int(row.asked) for row in rows),
        answered=answered,
        mean_elapsed_ms=elapsed_ms / answered if answered else 0.0,
    )


def fold(engine: Engine, before: datetime, now: datetime, limit: int) -> int:
    """Let challenges that were submitted before then stand in the totals; returns how many, at most `limit`.

    One transaction moves them. Of two that fold the same ones at once, the second finds them moved.
    """
    old = select(challenges.c.id).where(*FOLDABLE, challenges.c.submitted_at < before).limit(limit)
    with reading(engine) as connection:  # without the lock of writers: younger ones are looked at, too
        ids = connection.execute(old).scalars().all()
    if not ids:
        return 0
    moved = update(challenges).where(challenges.c.id.in_(ids), *FOLDABLE).values(folded_at=now)
    with engine.begin() as connection:
        rows = connection.execute(moved.returning(*(challenges.c[name] for name in ADDED_UP))).all()
        if rows:
            _add_to_totals(connection, ChallengeState.SUBMITTED, rows)
    return len(rows)


def _add_to_totals(connection: Connection, state: ChallengeState, rows: Sequence[Row[Any]]) -> None:
    sums: dict[str, Any] = {"challenges": len(rows)}
    sums |= {name: sum(getattr(row, name) for row in rows) for name in ADDED_UP}
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    added = {name: totals.c[name] + value for name, value in sums.items()}
    statement = insert(totals).values(state=state, **sums)
    connection.execute(statement.on_conflict_do_update(index_elements=["state"], set_=added))

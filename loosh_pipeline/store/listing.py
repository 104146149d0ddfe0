"""The list of accepted challenges as people read it, newest first, and the figures of its last hours.

Nothing here reads more than it says, however many challenges there are.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Text, and_, cast, func, literal, select, true, tuple_, union_all

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.prompts import evaluated_prompt
from loosh_pipeline.store.canaries import no_canary
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.figures import WITHOUT_SCORES
from loosh_pipeline.store.schema import UtcDateTime, challenges

LOOKED_AT = 2000
"""Challenges that one search looks at, the newest first; it says where it stopped, and goes on from there."""
READ_CHARS = 4_000_000
"""Of their requests, so many characters: one may be as long as that."""
PROMPT_CHARS = 400
"""Of a prompt, the beginning is told."""
AT_ONCE = 20
HOUR = timedelta(hours=1)
LAST_ID = "\U0010ffff"

_SHOWN = ("id", "state", "received_at", "state_changed_at", "scored_at", "asked", "answered", "failure", "run_id")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the list: what follows comes after this challenge, and is older."""

    received_at: datetime
    id: ChallengeId


@dataclass(frozen=True, slots=True)
class Listed:
    """One challenge of the list. `prompt`: the beginning of what its answers are evaluated against."""

    id: ChallengeId
    prompt: str
    state: ChallengeState
    received_at: datetime
    state_changed_at: datetime
    scored_at: datetime | None
    asked: int
    answered: int
    failure: str | None
    run_id: str | None

    @property
    def place(self) -> Place:
        return Place(self.received_at, self.id)

    @property
    def to_scores_s(self) -> float | None:
        """Seconds from its acceptance to its scores."""
        return None if self.scored_at is None else (self.scored_at - self.received_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which challenges: in this state, received from `since` on and before `until`, with all of these words in the
    prompt, in capitals or not.
    """

    state: ChallengeState | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """`looked_at` challenges were looked at; `more`: from where on there may be further ones, None at the end."""

    rows: Sequence[Listed]
    looked_at: int
    more: Place | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Challenges that have no scores yet and are not given up, and when the oldest of them came."""

    count: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hour:
    """How many challenges came in an hour, and how long some of those took that got scores in it, the newest."""

    since: datetime
    until: datetime
    came: int
    latencies_s: Sequence[float]


class Listing:
    """Every method is one short read. `canaries`: whether those may be told from others by what is read here."""

    def __init__(self, engine: Engine, *, canaries: bool = True) -> None:
        self._engine = engine
        self._canaries = canaries

    def find(self, wanted: Wanted, most: int, after: Place | None = None) -> Found:
        """Challenges from a place on, the newest first: as many as are asked for. A search may find fewer, as it ends
        where LOOKED_AT challenges, or READ_CHARS of their requests, were read for it.
        """
        query = self._newest_first(wanted, after).limit(LOOKED_AT + 1)
        rows: list[Listed] = []
        looked_at, chars, last = 0, 0, after
        words = [word.casefold() for word in wanted.words]
        with closing(self._read(query, AT_ONCE if words else 1)) as read:
            for row in read:
                if len(rows) == most or looked_at == LOOKED_AT or (words and chars >= READ_CHARS):
                    return Found(rows, looked_at, last)
                looked_at, chars, last = looked_at + 1, chars + len(row.body), Place(row.received_at, row.id)
                prompt = _prompt_of(row.body)
                if _has_all(prompt, words):
                    rows.append(_listed(row, prompt))
        return Found(rows, looked_at, None)

    def beginning_with(self, beginning: str, most: int) -> Sequence[Listed]:
        """Challenges whose id begins like this, in the order of their ids. A server reads all ids for it."""
        begins = challenges.c.id.startswith(beginning, autoescape=True)
        if self._engine.dialect.name == "sqlite":  # compares ids by their bytes, and finds a range in their index
            begins = and_(challenges.c.id >= beginning, challenges.c.id < beginning + LAST_ID)
        query = _SELECTED.where(begins, self._may_be_told()).order_by(challenges.c.id).limit(most)
        with closing(self._read(query)) as read:
            return [_listed(row, _prompt_of(row.body)) for row in read]

    def backlog(self) -> Backlog:
        """Reads no more than there are."""
        waits = challenges.c.state.in_(WITHOUT_SCORES), self._may_be_told()
        with reading(self._engine) as connection:
            row = connection.execute(select(func.count(), func.min(challenges.c.received_at)).where(*waits)).one()
        return Backlog(*row)

    def latencies_s(self, since: datetime, until: datetime, most: int) -> Sequence[float]:
        """Seconds from acceptance to scores, of the newest challenges that got any between, whenever they came."""
        with reading(self._engine) as connection:
            rows = connection.execute(self._scored(0, since, until, most)).all()
        return [(row.scored_at - row.received_at).total_seconds() for row in rows]

    def hours(self, until: datetime, count: int, latencies: int) -> Sequence[Hour]:
        """The last hours, the oldest first, each with at most so many latencies.

        Reads the indexes of what came and of what got scores.
        """
        spans = [(until - (n + 1) * HOUR, until - n * HOUR) for n in reversed(range(count))]
        with reading(self._engine) as connection:
            came = connection.execute(select(*(self._came(*span) for span in spans))).one()
            parts = [self._scored(n, *span, latencies) for n, span in enumerate(spans)]
            scored = connection.execute(union_all(*parts)).all()
        taken: list[list[float]] = [[] for _ in spans]
        for row in scored:
            taken[row.hour].append((row.scored_at - row.received_at).total_seconds())
        return [Hour(*span, came[n], taken[n]) for n, span in enumerate(spans)]

    def _newest_first(self, wanted: Wanted, after: Place | None) -> Any:
        query = _SELECTED.where(self._may_be_told())
        if wanted.state is not None:
            query = query.where(challenges.c.state == wanted.state)
        if wanted.since is not None:
            query = query.where(challenges.c.received_at >= wanted.since)
        if wanted.until is not None:
            query = query.where(challenges.c.received_at < wanted.until)
        if after is not None:
            place = tuple_(literal(after.received_at, UtcDateTime), literal(after.id))
            query = query.where(tuple_(challenges.c.received_at, challenges.c.id) < place)
        return query.order_by(challenges.c.received_at.desc(), challenges.c.id.desc())

    def _read(self, query: Any, at_once: int = AT_ONCE) -> Generator[Row[Any]]:
        """Rows so many at a time: whoever has enough of them reads no further, and holds no more requests."""
        with reading(self._engine) as connection:
            yield from connection.execution_options(yield_per=at_once).execute(query)

    def _came(self, since: datetime, until: datetime) -> Any:
        span = _between(since, until), self._may_be_told()
        return select(func.count()).select_from(challenges).where(*span).scalar_subquery()

    def _scored(self, hour: int, since: datetime, until: datetime, most: int) -> Any:
        scored_at = challenges.c.scored_at
        span = scored_at.is_not(None), scored_at >= since, scored_at < until, self._may_be_told()
        columns = literal(hour).label("hour"), challenges.c.received_at, challenges.c.scored_at
        newest = select(*columns).where(*span).order_by(scored_at.desc()).limit(most)
        return select(newest.subquery())

    def _may_be_told(self) -> ColumnElement[bool]:
        return true() if self._canaries else no_canary()


_SELECTED = select(*(challenges.c[name] for name in _SHOWN), cast(challenges.c.request, Text).label("body"))


def _between(since: datetime, until: datetime) -> ColumnElement[bool]:
    return and_(challenges.c.received_at >= since, challenges.c.received_at < until)


def _has_all(prompt: str, words: Sequence[str]) -> bool:
    """`words`: casefolded."""
    if not words:
        return True
    folded = prompt.casefold()
    return all(word in folded for word in words)


def _prompt_of(body: str) -> str:
    request = json.loads(body)
    return evaluated_prompt(request.get("prompt"), request.get("messages"))


def _listed(row: Row[Any], prompt: str) -> Listed:
    shown = {name: getattr(row, name) for name in _SHOWN}
    about = {"id": ChallengeId(row.id), "state": ChallengeState(row.state), "prompt": prompt[:PROMPT_CHARS]}
    return Listed(**shown | about)

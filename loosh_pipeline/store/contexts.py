"""The scoring contexts of many rounds: listed once, and the ones last used remembered."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from datetime import UTC, datetime

from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.store.score_frames import context_of
from loosh_pipeline.store.score_tables import CONTEXTS, TIME
from loosh_pipeline.store.tables import TableKey, Tables

REMEMBERED = 3
"""A context of 1,000 rounds has some 20,000 words."""


class Contexts:
    """What `ScoreTables.context_at` says, for rounds of the past.

    A context is dated when it is built, so none that is built from now on is of a round that came before.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._keys: dict[str, list[TableKey]] | None = None
        self._remembered: OrderedDict[TableKey, ScoringContext] = OrderedDict()

    def at(self, at: datetime, model_digest: str, dim: int) -> ScoringContext:
        """The newest context of an embedding model that was built before `at`; an empty one when there is none."""
        keys = self._listed().get(model_digest[:12], [])
        moment = f"{at.astimezone(UTC):{TIME}}"
        before = bisect_left(keys, moment, key=lambda key: key.name.partition("-")[0])
        return self._read(keys[before - 1]) if before else ScoringContext.empty(dim)

    def _listed(self) -> dict[str, list[TableKey]]:
        """Keys by model, the oldest first."""
        if self._keys is None:
            self._keys = {}
            for key in reversed(list(self._tables.newest_first(CONTEXTS))):
                self._keys.setdefault(key.version, []).append(key)
        return self._keys

    def _read(self, key: TableKey) -> ScoringContext:
        found = self._remembered.pop(key, None) or context_of(self._tables.read(CONTEXTS, key))
        self._remembered[key] = found
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return found

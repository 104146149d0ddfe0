"""Where scores lie: rows and pairs of every round and scorer version, the scorers, the contexts they were given.

consensus_scores/day=…/CHALLENGE.VERSION.parquet   one row for every miner asked
pair_evidence/day=…/CHALLENGE.VERSION.parquet      one row for every two answers compared
window_cache/day=…/ASSET.HOUR.parquet              a copy of what settling reads of these two, see `window_cache`
scorers/day=…/VERSION.parquet                      what the hash of a version stands for, since when
scoring_context/day=…/TIME-RUN.MODEL.parquet       document frequencies and background, append-only
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import polars as pl
from duckdb import DuckDBPyConnection

from loosh_pipeline.domain import ScorerVersion
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import CODE_VERSION, Profile, parameters_of, scorer_version
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.score_frames import (
    PAIRED_FROM,
    SETTLED_FROM,
    context_frame,
    context_of,
    pairs_frame,
    scores_frame,
    scores_of,
)
from loosh_pipeline.store.tables import TableKey, Tables, WrittenTable
from loosh_pipeline.store.window_cache import WindowCache

SCORES = "consensus_scores"
PAIRS = "pair_evidence"
SCORERS = "scorers"
CONTEXTS = "scoring_context"

TIME = "%Y%m%dT%H%M%S%f"
SCORER_SCHEMA: Mapping[str, Any] = {
    "scorer_version": pl.String,
    "profile": pl.String,
    "parameters": pl.String,
    "code_version": pl.Int64,
    "model_digest": pl.String,
    "first_used_at": UTC_MS,
}

# One version of each round: that of the given parameters where it exists, else the one that came into use last.
CHOSEN_SQL = """
SELECT challenge_id, scorer_version FROM known LEFT JOIN scorers USING (scorer_version)
QUALIFY row_number() OVER (
    PARTITION BY challenge_id
    ORDER BY coalesce(scorers.parameters = $parameters AND scorers.code_version = $code_version, false) DESC,
             first_used_at DESC NULLS LAST, scorer_version
) = 1
"""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rounds of one profile over a lookback, one version of each, as rows.

    `scores` has one for every miner asked in every round, `pairs` one for every two answers compared; they have the
    columns that settling and paying need, `SETTLED_FROM` and `PAIRED_FROM`.
    """

    scores: pl.DataFrame
    pairs: pl.DataFrame


class ScoreTables:
    """Reads and writes scores. Nothing is overwritten but by the same rows."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def write(
        self, key: TableKey, result: RoundScores, profile: Profile, model_digest: str, received_at: datetime
    ) -> WrittenTable:
        """Keep the scores of a round, its pairs first: a round that has scores has its pairs."""
        at = TableKey(key.day, key.name, result.scorer_version)
        self._tables.write(PAIRS, at, pairs_frame(result, received_at))
        self._tables.write_once(SCORERS, *_scorer(profile, model_digest))
        return self._tables.write(SCORES, at, scores_frame(result, received_at))

    def read(self, key: TableKey, version: ScorerVersion) -> RoundScores:
        """The scores of a round. Raises StoreError that names the missing table."""
        at = TableKey(key.day, key.name, version)
        return scores_of(self._tables.read(SCORES, at), self._tables.read(PAIRS, at))

    def newest_rows(self, key: TableKey, profile: str) -> pl.DataFrame | None:
        """The score rows of a round by a profile, in the version that came into use last; None while it has none."""
        # By the versions, which are few, and not by the tables of its day, which may be tens of thousands.
        for version in self._versions_of(profile):
            at = TableKey(key.day, key.name, version)
            if self._tables.exists(SCORES, at):
                return self._tables.read(SCORES, at)
        return None

    def _versions_of(self, profile: str) -> list[str]:
        """The scorer versions of a profile, the one first that came into use last."""
        stored = ((day, each) for day in self._tables.days(SCORERS) for each in self._tables.files(SCORERS, day))
        rows = [self._tables.read(SCORERS, TableKey.named(day, each.name)).row(0, named=True) for day, each in stored]
        of_it = (row for row in rows if row["profile"] == profile)
        return [row["scorer_version"] for row in sorted(of_it, key=itemgetter("first_used_at"), reverse=True)]

    def scorer(self, version: str) -> tuple[str, datetime]:
        """The profile of a scorer version, and when it came into use. Raises StoreError when it is not known."""
        scorer = self._tables.read(SCORERS, TableKey(_EPOCH.date(), version))
        return str(scorer["profile"][0]), scorer["first_used_at"][0]

    def model_digest(self, key: TableKey) -> str:
        """The embedding model of a round's stored vectors. Raises StoreError when there are none."""
        return str(self._tables.read("embeddings", key)["model_digest"][0])

    def write_context(self, context: ScoringContext, model_digest: str, built_at: datetime, run: str) -> WrittenTable:
        key = TableKey.of(f"{built_at:{TIME}}-{run[:8]}", built_at, model_digest[:12])
        return self._tables.write(CONTEXTS, key, context_frame(context, model_digest, built_at))

    def context_at(self, at: datetime, model_digest: str, dim: int) -> ScoringContext:
        """The newest context of an embedding model that was built before `at`; an empty one when there is none.

        A round is given the context of the moment its challenge came, however late it is scored again.
        """
        moment = at.astimezone(UTC)
        for key in self._tables.newest_first(CONTEXTS, moment.date()):
            if key.version == model_digest[:12] and key.name.partition("-")[0] < f"{moment:{TIME}}":
                return context_of(self._tables.read(CONTEXTS, key))
        return ScoringContext.empty(dim)

    def newest_context(self) -> pl.DataFrame | None:
        return self._tables.latest(CONTEXTS)

    def window_rows(
        self, connection: DuckDBPyConnection, profile: Profile, since: datetime, *, pairs: bool = True
    ) -> WindowRows:
        """Every round scored under a profile whose challenge came since then, from a copy that holds many a file.

        A round scored more than once is read in the version of today's parameters and code, or else in the one that
        came into use last. `pairs`: whether those of the rounds are read too.
        """
        # Scores before pairs, which are written first: a round that has scores has its pairs.
        scores = WindowCache(self._tables, SCORES, SETTLED_FROM).rows(since.date())
        scores = scores.filter(pl.col("profile") == profile.name, pl.col("received_at") >= since)
        chosen = self._chosen(connection, scores, profile)
        compared = pl.DataFrame(schema=PAIRED_FROM)
        if pairs:
            compared = WindowCache(self._tables, PAIRS, PAIRED_FROM).rows(since.date())
        by = ["challenge_id", "scorer_version"]
        return WindowRows(scores.join(chosen, on=by, how="semi"), compared.join(chosen, on=by, how="semi"))

    def _chosen(self, connection: DuckDBPyConnection, scores: pl.DataFrame, profile: Profile) -> pl.DataFrame:
        """Which version of each round counts."""
        known = scores.select("challenge_id", "scorer_version").unique()
        if known.is_empty():
            return known
        self._tables.register_views(connection, [SCORERS])
        connection.register("known", known)
        try:
            about = {"parameters": _parameters(profile), "code_version": CODE_VERSION}
            found = connection.execute(CHOSEN_SQL, about).fetchall()
        finally:
            connection.unregister("known")
        return pl.DataFrame(found, schema=known.schema, orient="row")


def _parameters(profile: Profile) -> str:
    return json.dumps(parameters_of(profile), sort_keys=True)


def _scorer(profile: Profile, model_digest: str) -> tuple[TableKey, pl.DataFrame]:
    """Where a scorer is described, and what it says; one fixed day, so that it is written once and for all."""
    version = scorer_version(profile, model_digest)
    row = {
        "scorer_version": version,
        "profile": profile.name,
        "parameters": _parameters(profile),
        "code_version": CODE_VERSION,
        "model_digest": model_digest,
        "first_used_at": datetime.now(UTC),
    }
    return TableKey(_EPOCH.date(), version), pl.DataFrame([row], schema=SCORER_SCHEMA)


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

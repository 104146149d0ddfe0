"""Where scores lie: rows and pairs of every round and scorer version, the scorers, the contexts they were given.

consensus_scores/day=…/CHALLENGE.VERSION.parquet   one row for every miner asked
pair_evidence/day=…/CHALLENGE.VERSION.parquet      one row for every two answers compared
window_cache/day=…/ASSET.HOUR.parquet              a copy of what settling reads of these two, see `window_cache`
scorers/day=…/VERSION.parquet                      what the hash of a version stands for, since when
tried_scores, tried_pairs, tried_scorers           the same of scorers that somebody tried: nothing reads them for pay
canary_scores, canary_pairs, canary_scorers        the same of canaries, under whatever scorer: nor these
scoring_context/day=…/TIME-RUN.MODEL.parquet       document frequencies and background, append-only
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from duckdb import DuckDBPyConnection

from loosh_pipeline.domain import ScorerVersion
from loosh_pipeline.errors import PartTaken, StoreError
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import CODE_VERSION, Profile, parameters_of, scorer_version
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.store.compaction import whole, write_part
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.objects import PARQUET, SECONDS_PER_H
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
TRIED_SCORES, TRIED_PAIRS, TRIED_SCORERS = "tried_scores", "tried_pairs", "tried_scorers"
CANARY_SCORES, CANARY_PAIRS, CANARY_SCORERS = "canary_scores", "canary_pairs", "canary_scorers"
PART_FROM = 20
"""Rounds of a day from which a part of their own is worth it; fewer are written as the first scoring writes them."""
TRIES = 10
"""Looks for a free number of a part, while a compaction writes others."""
CONTEXTS = "scoring_context"

log = logging.getLogger(__name__)

TIME = "%Y%m%dT%H%M%S%f"
SCORER_SCHEMA: Mapping[str, Any] = {
    "scorer_version": pl.String,
    "profile": pl.String,
    "parameters": pl.String,
    "code_version": pl.Int64,
    "model_digest": pl.String,
    "first_used_at": UTC_MS,
}

# One version of each round: the first in the order of `ScoreTables.counting`; none where none of its versions counts.
CHOSEN_SQL = """
SELECT challenge_id, scorer_version FROM known JOIN counting USING (scorer_version)
QUALIFY row_number() OVER (PARTITION BY challenge_id ORDER BY place) = 1
"""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Tables that belong together: scores, the pairs of their rounds, and what their versions stand for."""

    scores: str
    pairs: str
    scorers: str


IN_USE = Shelf(SCORES, PAIRS, SCORERS)
"""What evaluation, the shadow profiles and rescoring by today's parameters wrote: planning weights reads it."""
TRIED = Shelf(TRIED_SCORES, TRIED_PAIRS, TRIED_SCORERS)
"""What somebody tried, of other parameters or of a profile that does not run here."""
CANARIES = Shelf(CANARY_SCORES, CANARY_PAIRS, CANARY_SCORERS)
"""Rounds of canaries, under whatever scorer. They lie apart, so that nothing that pays, accuses or compares can take
them for others: not even beside an inbox that is older than they are, and has lost their marks."""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rounds of one profile over a lookback, one version of each, as rows.

    `scores` has one for every miner asked in every round, `pairs` one for every two answers compared; they have the
    columns that settling and paying need, `SETTLED_FROM` and `PAIRED_FROM`.
    """

    scores: pl.DataFrame
    pairs: pl.DataFrame


@dataclass(frozen=True, eq=False)
class RoundTables:
    """The tables of a scored round, and where they belong."""

    key: TableKey
    scores: pl.DataFrame
    pairs: pl.DataFrame

    @classmethod
    def of(
        cls, challenge: str, received_at: datetime, version: ScorerVersion, scores: pl.DataFrame, pairs: pl.DataFrame
    ) -> RoundTables:
        return cls(TableKey.of(challenge, received_at, version), scores, pairs)


class ScoreTables:
    """Reads and writes scores. Nothing is overwritten but by the same rows, unless `replace` is asked for.

    `shelf`: where rounds are written and read. A window, and so what pays, is read from `IN_USE` alone.
    """

    def __init__(self, tables: Tables, shelf: Shelf = IN_USE) -> None:
        self._tables, self._shelf = tables, shelf

    def write(
        self,
        key: TableKey,
        result: RoundScores,
        profile: Profile,
        model_digest: str,
        received_at: datetime,
        inputs_digest: str | None = None,
    ) -> WrittenTable:
        """Keep the scores of a round, its pairs first: a round that has scores has its pairs."""
        at = TableKey(key.day, key.name, result.scorer_version)
        self.note_scorer(profile, model_digest)
        scores = scores_frame(result, received_at, inputs_digest)
        return self.replace(RoundTables(at, scores, pairs_frame(result, received_at)))

    def note_scorer(self, profile: Profile, model_digest: str) -> None:
        """Say what the hash of a version stands for, before any row has it."""
        self._tables.write_once(self._shelf.scorers, *_scorer(profile, model_digest))

    def replace(self, round_: RoundTables) -> WrittenTable:
        """Keep the rows of a scored round in place of what is there of its version; the pairs first."""
        self._tables.write(self._shelf.pairs, round_.key, round_.pairs)
        return self._tables.write(self._shelf.scores, round_.key, round_.scores)

    def write_many(self, rounds: Sequence[RoundTables]) -> None:
        """Keep rounds of which nothing is there of their version: many of a day go right into parts, pairs first.

        What somebody else writes of them meanwhile lies in a file of its own, and counts.
        """
        by_day: dict[date, list[RoundTables]] = {}
        for each in rounds:
            by_day.setdefault(each.key.day, []).append(each)
        for day, of_day in by_day.items():
            alone = self._alone(day)  # what is broken there would count before a part
            together = sorted((each for each in of_day if each.key.file not in alone), key=lambda each: each.key.file)
            done = len(together) >= PART_FROM and self._written_as_parts(day, together)
            for each in of_day:
                if not done or each.key.file in alone:
                    self.replace(each)

    def _alone(self, day: date) -> set[str]:
        """Names of tables of a day that lie in files of their own."""
        assets = self._shelf.scores, self._shelf.pairs
        return {each.name for asset in assets for each in self._tables.originals(asset, day)}

    def _written_as_parts(self, day: date, rounds: Sequence[RoundTables]) -> bool:
        """Whether it could be done: not while a part there cannot be read, or others are written without end."""
        try:
            self._write_part(self._shelf.pairs, day, [(each.key, each.pairs) for each in rounds])
            self._write_part(self._shelf.scores, day, [(each.key, each.scores) for each in rounds])
        except StoreError as error:
            log.warning("%d rounds of %s are written as files of their own: %s", len(rounds), day, error)
            return False
        return True

    def _write_part(self, asset: str, day: date, tables: Sequence[tuple[TableKey, pl.DataFrame]]) -> None:
        now = datetime.now(UTC)
        # By which `WindowCache` tells these tables from what was there before or comes after.
        stamp, hour = f"part-{uuid.uuid4().hex[:16]}", int(now.timestamp()) // SECONDS_PER_H
        history = [replace(whole(key, frame), stamp=stamp, hour=hour) for key, frame in tables]
        for _ in range(TRIES):
            with suppress(PartTaken):
                write_part(self._tables, asset, day, history, now)
                return
        raise StoreError(f"parts of {asset} of {day} were written at each of {TRIES} tries")

    def scores_of(self, key: TableKey) -> pl.DataFrame | None:
        """The scores of a round and version as they lie here; None for none. Raises StoreError for unreadable ones."""
        return self._tables.read(self._shelf.scores, key) if self._tables.exists(self._shelf.scores, key) else None

    def pairs_of(self, key: TableKey) -> pl.DataFrame | None:
        """The same for pairs; None for unreadable ones too, which are to be written anew."""
        try:
            return self._tables.read(self._shelf.pairs, key)
        except StoreError:
            return None

    def read(self, key: TableKey, version: ScorerVersion) -> RoundScores:
        """The scores of a round. Raises StoreError that names the missing table."""
        at = TableKey(key.day, key.name, version)
        return scores_of(self._tables.read(self._shelf.scores, at), self._tables.read(self._shelf.pairs, at))

    def newest_rows(self, key: TableKey, profile: Profile) -> pl.DataFrame | None:
        """The score rows of a round in the version that counts under a profile; None while it has none."""
        # By the versions, which are few, and not by the tables of its day, which may be tens of thousands.
        for version in self.counting(self._versions(), profile):
            at = TableKey(key.day, key.name, version)
            if self._tables.exists(self._shelf.scores, at):
                return self._tables.read(self._shelf.scores, at)
        return None

    def _versions(self) -> list[str]:
        """The scorer versions that have rows here."""
        return [file.name.removesuffix(PARQUET) for file in self._tables.files(self._shelf.scorers, _EPOCH.date())]

    def scorers(self) -> list[dict[str, Any]]:
        """What is said of every version that has rows here: columns of `SCORER_SCHEMA`, by version."""
        day, asset = _EPOCH.date(), self._shelf.scorers
        return [
            self._tables.read(asset, TableKey.named(day, name)).row(0, named=True)
            for name in sorted(each.name for each in self._tables.files(asset, day))
        ]

    def counting(self, versions: Iterable[str], profile: Profile) -> list[ScorerVersion]:
        """Those of some scorer versions that count under a profile; of a round's, the first is the one that does.

        That is the version of the profile's parameters and today's code, then the others of the profile, from the one
        that came into use last. One that nobody described counts for nothing.
        """
        todays = _parameters(profile), CODE_VERSION
        described = [each for version in versions if (each := self.described(version)) is not None]
        found = [each for each in described if each["profile"] == profile.name]
        found.sort(key=lambda each: each["scorer_version"])
        found.sort(key=lambda each: each["first_used_at"], reverse=True)
        found.sort(key=lambda each: (each["parameters"], each["code_version"]) != todays)
        return [ScorerVersion(each["scorer_version"]) for each in found]

    def described(self, version: str) -> dict[str, Any] | None:
        """What a scorer version stands for, as `SCORER_SCHEMA`; None for one that nobody described."""
        key, asset = TableKey(_EPOCH.date(), version), self._shelf.scorers
        return self._tables.read(asset, key).row(0, named=True) if self._tables.exists(asset, key) else None

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

        A round scored more than once is read in the version that `counting` has first. `pairs`: whether those of the
        rounds are read too. Canaries lie elsewhere, and are never among them.
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
        versions = self.counting(known["scorer_version"].unique().to_list(), profile)
        counting = {"scorer_version": versions, "place": range(len(versions))}
        connection.register("known", known)
        connection.register("counting", pl.DataFrame(counting, schema={"scorer_version": pl.String, "place": pl.Int64}))
        try:
            found = connection.execute(CHOSEN_SQL).fetchall()
        finally:
            connection.unregister("known")
            connection.unregister("counting")
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

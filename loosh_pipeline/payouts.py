"""From stored rows to payouts: the rounds of a lookback settled as a whole, in columns from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome, ScorerVersion
from loosh_pipeline.errors import StoreError
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.pairs import Pair, PairColumns, PairHistory
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.signals import Floats, Ints
from loosh_pipeline.scoring.window import settle_columns
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.score_frames import settled_frame
from loosh_pipeline.store.score_tables import WindowRows

PAID: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "hotkey": pl.String,
    "received_at": UTC_MS,
    "answered": pl.Boolean,
    "measured": pl.Boolean,
    "payout": pl.Float64,
}
"""A row for every miner asked in every round. `measured`: the scorer scored it. A failed ask has a payout of 0."""


@dataclass(frozen=True, slots=True)
class Payouts:
    """What a profile pays in every round of a lookback.

    `paid`: a `PAID` table, by challenge and hotkey. `settled`: the table of `settled_scores`, and `sources`, the pairs
    taken for one source to any degree; of a profile that settles nothing None and empty. `rounds`: how many each scorer
    version scored.
    """

    paid: pl.DataFrame
    settled: pl.DataFrame | None
    sources: Mapping[Pair, PairHistory]
    rounds: Mapping[ScorerVersion, int]


NOTHING_PAID = Payouts(pl.DataFrame(schema=PAID), None, {}, {})


def payouts_of(rows: WindowRows, profile: ScoringProfile) -> Payouts:
    """Pay the rounds of a window: the robust profile settles them first, the network's pays what each says.

    Raises ValueError for rows that are no rounds, as `columns.groups_of` says.
    """
    scores = rows.scores.sort("challenge_id", "hotkey")
    per_version = scores.group_by("scorer_version").agg(pl.col("challenge_id").n_unique()).sort("scorer_version")
    rounds = {ScorerVersion(version): count for version, count in per_version.iter_rows()}
    if isinstance(profile, NetworkProfile):
        return Payouts(_paid(scores, scores["payout"].to_numpy()), None, {}, rounds)
    columns = window_columns(scores, rows.pairs)
    settled = settle_columns(columns, profile)
    payout = np.zeros(scores.height)
    payout[settled.rows] = settled.payout
    frame = settled_frame(columns, settled)
    return Payouts(_paid(scores, payout), frame, settled.histories.sources(), rounds)


def _paid(scores: pl.DataFrame, payout: Floats) -> pl.DataFrame:
    return scores.select(
        "challenge_id",
        "hotkey",
        "received_at",
        answered=pl.col("outcome") == Outcome.ANSWERED,
        measured=pl.col("quality_threshold").is_not_null(),
        payout=pl.Series(payout, dtype=pl.Float64),
    )


def window_columns(scores: pl.DataFrame, pairs: pl.DataFrame) -> WindowColumns:
    """Stored rows as settling takes them. Raises StoreError for pairs of a round or a hotkey without a score."""
    challenges = scores["challenge_id"].unique().sort()
    hotkeys = scores["hotkey"].unique().sort()
    return WindowColumns(
        challenges=tuple(map(ChallengeId, challenges)),
        hotkeys=tuple(map(Hotkey, hotkeys)),
        round=_places(scores["challenge_id"], challenges),
        miner=_places(scores["hotkey"], hotkeys),
        compared=scores["relevance"].is_not_null().to_numpy(),
        words=_floats(scores["words"]),
        elapsed_ms=_floats(scores["elapsed_ms"]),
        relevance=_floats(scores["relevance"]),
        baseline=_floats(scores["baseline"]),
        pairs=PairColumns(
            round=_places(pairs["challenge_id"], challenges),
            first=_places(pairs["first"], hotkeys),
            second=_places(pairs["second"], hotkeys),
            **{name: _floats(pairs[name]) for name in _MEASURED},
            same_address=pairs["same_address"].to_numpy(),
            same_coldkey=pairs["same_coldkey"].to_numpy(),
        ),
    )


_MEASURED = ("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence")


def _places(values: pl.Series, among: pl.Series) -> Ints:
    """The place of each value in a sorted list."""
    places = values.cast(pl.Enum(among), strict=False)
    if places.null_count():
        unknown = values.filter(places.is_null())[0]
        raise StoreError(f"pair_evidence names {unknown} in a round without scores of it; score the round again")
    found: Ints = places.to_physical().cast(pl.Int64).to_numpy()
    return found


def _floats(values: pl.Series) -> Floats:
    """NaN for null."""
    floats: Floats = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return floats

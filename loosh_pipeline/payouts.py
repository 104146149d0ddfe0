"""From stored rows to payouts: the rounds of a lookback settled as a whole, in columns from file to file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome, ScorerVersion
from loosh_pipeline.errors import StoreError
from loosh_pipeline.paid import Paid, Payment, pay, settles
from loosh_pipeline.scoring.admission import NO_AGREEMENT, OFF_TOPIC
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.pairs import Pair, PairColumns, PairHistory
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.signals import Floats, Ints
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
COUNTED: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "scorer_version": pl.String,
    "received_at": UTC_MS,
    "left_out": pl.Boolean,
}
"""A row for every round of a lookback, by challenge. `left_out`: it lacks pairs, and is paid nothing."""

OUTCOMES: Mapping[str, Any] = {"hotkey": pl.String, "outcome": pl.String, "asks": pl.Int64}
"""How many asks of each miner were paid nothing, by why: an `Outcome`, `off_topic` or `no_agreement` as
settled, or one of the two below."""
NOT_COMPARED, WORTH_NOTHING = "not_compared", "worth_nothing"
"""An answer came, and there was nothing that it could be compared with; or it was, and was worth nothing, by a profile
that does not say why."""


def paid_of(table: pl.DataFrame) -> Paid:
    """A `PAID` table as arrays."""
    challenges, hotkeys = (table[name].unique().sort() for name in ("challenge_id", "hotkey"))
    return Paid(
        challenges=tuple(map(ChallengeId, challenges)),
        hotkeys=tuple(map(Hotkey, hotkeys)),
        round=_places(table["challenge_id"], challenges),
        miner=_places(table["hotkey"], hotkeys),
        at_ms=table["received_at"].dt.epoch("ms").to_numpy(),
        answered=table["answered"].to_numpy(),
        measured=table["measured"].to_numpy(),
        payout=table["payout"].to_numpy(),
    )


@dataclass(frozen=True, slots=True)
class Payouts:
    """What a profile pays in every round of a lookback.

    `paid`: a `PAID` table, by challenge and hotkey. `settled`: the table of `settled_scores`, and `sources`, the pairs
    taken for one source to any degree; of a profile that settles nothing None and empty. `rounds`: how many each scorer
    version scored. `left_out`: the rounds that `pay` left out, sorted; they are in nothing else but `counted`,
    the table of `counted_rounds`. `unpaid`: an `OUTCOMES` table, the table of `unpaid_asks`.
    """

    paid: pl.DataFrame
    settled: pl.DataFrame | None
    sources: Mapping[Pair, PairHistory]
    rounds: Mapping[ScorerVersion, int]
    left_out: tuple[ChallengeId, ...] = ()
    counted: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COUNTED))
    unpaid: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OUTCOMES))


NOTHING_PAID = Payouts(pl.DataFrame(schema=PAID), None, {}, {})


def payouts_of(rows: WindowRows, profile: ScoringProfile) -> Payouts:
    """Pay the rounds of a window: the robust profile settles them first, the network's pays what each says.

    Raises ValueError for a round that has a miner twice.
    """
    scores = rows.scores.sort("challenge_id", "hotkey")
    columns = window_columns(scores, rows.pairs if settles(profile) else rows.pairs.clear())
    payment = pay(columns, _floats(scores["payout"]), profile)
    judged, settled = scores[payment.rows], payment.settled
    return Payouts(
        paid=_paid(judged, payment.payout),
        settled=None if settled is None else settled_frame(payment.columns, settled),
        sources={} if settled is None else settled.histories.sources(),
        rounds=_rounds(judged),
        left_out=payment.left_out,
        counted=_counted(scores, payment.left_out),
        unpaid=_unpaid(judged, payment),
    )


def _unpaid(scores: pl.DataFrame, payment: Payment) -> pl.DataFrame:
    """By hotkey, the commonest first."""
    settled, compared = payment.settled, pl.col("relevance").is_not_null() | pl.col("quality_threshold").is_not_null()
    gate, agreement = (np.full(scores.height, np.nan) for _ in range(2))  # NaN compares as neither below nor 0
    if settled is not None:
        gate[settled.rows], agreement[settled.rows] = settled.relevance_gate, settled.agreement
    below = scores["relevance"].cast(pl.Float64).fill_null(np.nan).to_numpy() < gate
    why = (
        pl.when(pl.col("outcome") != Outcome.ANSWERED)
        .then("outcome")
        .when(~compared)
        .then(pl.lit(NOT_COMPARED))
        .when(pl.Series(below))
        .then(pl.lit(OFF_TOPIC))
        .when(pl.Series(agreement == 0))
        .then(pl.lit(NO_AGREEMENT))
        .otherwise(pl.lit(WORTH_NOTHING))
    )
    rows = scores.select("hotkey", outcome=why).filter(~(pl.Series(payment.payout) > 0))
    rows = rows.group_by("hotkey", "outcome").agg(asks=pl.len().cast(pl.Int64))
    return rows.sort("hotkey", "asks", "outcome", descending=[False, True, False]).select(*OUTCOMES)


def _counted(scores: pl.DataFrame, left_out: Sequence[ChallengeId]) -> pl.DataFrame:
    """Which version of which rounds a window has, by challenge."""
    rounds = scores.select("challenge_id", "scorer_version", "received_at").unique("challenge_id").sort("challenge_id")
    return rounds.with_columns(left_out=pl.col("challenge_id").is_in(list(left_out))).select(*COUNTED)


def _rounds(scores: pl.DataFrame) -> dict[ScorerVersion, int]:
    per_version = scores.group_by("scorer_version").agg(pl.col("challenge_id").n_unique()).sort("scorer_version")
    return {ScorerVersion(version): count for version, count in per_version.iter_rows()}


def _paid(scores: pl.DataFrame, payout: Floats) -> pl.DataFrame:
    return scores.select(
        "challenge_id",
        "hotkey",
        "received_at",
        answered=pl.col("outcome") == Outcome.ANSWERED,
        measured=pl.col("quality_threshold").is_not_null(),
        payout=pl.Series(payout, dtype=pl.Float64),
    )


@dataclass(frozen=True, eq=False)
class PairedRows:
    """The rounds of a window that can be judged, as rows by challenge and hotkey and as columns, and the others."""

    scores: pl.DataFrame
    pairs: pl.DataFrame
    columns: WindowColumns
    left_out: tuple[ChallengeId, ...]


def paired_rows(rows: WindowRows) -> PairedRows:
    """Leave out the rounds that `pay` leaves out. Raises StoreError for pairs of a challenge without scores."""
    scores = rows.scores.sort("challenge_id", "hotkey")
    columns = window_columns(scores, rows.pairs)
    left_out = tuple(columns.challenges[place] for place in columns.mispaired)
    kept, columns = columns.without(columns.mispaired)
    return PairedRows(scores[kept], rows.pairs.filter(~pl.col("challenge_id").is_in(left_out)), columns, left_out)


def window_columns(scores: pl.DataFrame, pairs: pl.DataFrame) -> WindowColumns:
    """Stored rows as settling takes them; a pair that lacks a figure is none. Raises StoreError like `paired_rows`."""
    challenges, hotkeys = (scores[name].unique().sort() for name in ("challenge_id", "hotkey"))
    pairs = pairs.drop_nulls()
    of_round = _places(pairs["challenge_id"], challenges)
    if len(strange := pairs["challenge_id"].filter(pl.Series(of_round < 0))):
        raise StoreError(f"pair_evidence names challenge {strange[0]}, which has no scores; score it again")
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
            round=of_round,
            first=_places(pairs["first"], hotkeys),
            second=_places(pairs["second"], hotkeys),
            **{name: pairs[name].to_numpy() for name in _MEASURED},
        ),
    )


_MEASURED = (
    *("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence"),
    *("same_address", "same_coldkey"),
)


def _places(values: pl.Series, among: pl.Series) -> Ints:
    """The place of each value in a sorted list; -1 for one that is not in it."""
    places: Ints = values.cast(pl.Enum(among), strict=False).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    return places


def _floats(values: pl.Series) -> Floats:
    """NaN for null."""
    floats: Floats = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return floats

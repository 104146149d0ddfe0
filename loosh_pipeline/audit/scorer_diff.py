"""Weights under two scorers that are both stored, after one policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from loosh_pipeline.audit.recorded import RecordedEpoch
from loosh_pipeline.audit.sampling import of_rounds
from loosh_pipeline.audit.stored_rows import Scorer, rows_of
from loosh_pipeline.audit.weighing_again import Given, Weighed, weighed
from loosh_pipeline.audit.weight_diff import WeightDiff, flags_of, weight_diff
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.looks import look_rows
from loosh_pipeline.store.score_tables import WindowRows
from loosh_pipeline.store.tables import Tables

SECONDS_PER_H = 3600.0
SHADOW_DIFF: Mapping[str, Any] = {
    "made_at": UTC_MS,
    "epoch": pl.Int64,
    "a": pl.String,
    "b": pl.String,
    "rounds": pl.Int64,
    "total_variation": pl.Float64,
    "rank_correlation": pl.Float64,
    "expected_vtrust": pl.Float64,
    "hotkey": pl.String,
    "weight_a": pl.Float64,
    "weight_b": pl.Float64,
    "change": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class ScorerDiff:
    """Weights by `a` and by `b`, of the `rounds` that have rows of both; of `a_rounds` and `b_rounds` that have any.

    `epoch`: by whose recorded inputs policy was applied. `missing`: the command that makes the rows one of them lacks.
    """

    a: Scorer
    b: Scorer
    since: datetime
    until: datetime
    epoch: int
    a_rounds: int
    b_rounds: int
    rounds: int
    before: Weighed
    after: Weighed
    diff: WeightDiff
    missing: tuple[str, ...] = ()


def scorer_diff(
    tables: Tables,
    epoch: RecordedEpoch,
    a: Scorer,
    b: Scorer,
    since: datetime,
    until: datetime,
) -> ScorerDiff:
    """Raises StoreError where no round has rows of both; it says how to make them."""
    rows = [rows_of(tables, scorer, since, until) for scorer in (a, b)]
    of_a, of_b = (set(each.scores["challenge_id"].unique()) for each in rows)
    both, missing = sorted(of_a & of_b), _missing((a, b), (of_a, of_b), since, until)
    if not both:
        raise StoreError(f"no round from {since:%F %T} to {until:%F %T} has rows of both. {'. '.join(missing)}")
    before, after = (
        weighed(_given(tables, epoch, scorer, of_rounds(each, both), since, until))
        for scorer, each in zip((a, b), rows, strict=True)
    )
    flagged = [flags_of(each.earned, each.proposal.acts) for each in (before, after)]
    return ScorerDiff(
        a=a,
        b=b,
        since=since,
        until=until,
        epoch=epoch.number,
        a_rounds=len(of_a),
        b_rounds=len(of_b),
        rounds=len(both),
        before=before,
        after=after,
        diff=weight_diff(before.weights, after.weights, *flagged),
        missing=missing,
    )


def _missing(
    scorers: tuple[Scorer, Scorer], rounds: tuple[set[str], set[str]], since: datetime, until: datetime
) -> tuple[str, ...]:
    """Of which rounds one has rows and the other none, with the command that makes them."""
    (a, b), (of_a, of_b) = scorers, rounds
    lacking = [(a, of_b - of_a, of_a), (b, of_a - of_b, of_b)]
    return tuple(
        f"{len(lacks) or 'all'} rounds are not stored under {scorer.said}: {scorer.rescored_by(since, until)}"
        for scorer, lacks, has in lacking
        if lacks or not has
    )


def diff_frame(found: ScorerDiff, made_at: datetime) -> pl.DataFrame:
    """One row for everybody who has anything under either, who changes most first."""
    about = {
        "made_at": made_at,
        "epoch": found.epoch,
        "a": found.a.said,
        "b": found.b.said,
        "rounds": found.rounds,
        "total_variation": found.diff.total_variation,
        "rank_correlation": found.diff.rank_correlation,
        "expected_vtrust": found.diff.vtrust,
    }
    rows = [
        about | {"hotkey": each.hotkey, "weight_a": each.before, "weight_b": each.after, "change": each.change}
        for each in found.diff.moves
    ]
    return pl.DataFrame(rows, schema=SHADOW_DIFF)


def _given(
    tables: Tables, epoch: RecordedEpoch, scorer: Scorer, rows: WindowRows, since: datetime, until: datetime
) -> Given:
    """As that epoch's weights were made, but for what was earned.

    What an existing validator had found is left aside: it would stand in the place of both.
    """
    looks = look_rows(tables, since.date(), until.date(), keeps=False)
    lookback_h = (until - since).total_seconds() / SECONDS_PER_H
    terms = replace(epoch.terms, made_at=until, since=since, lookback_h=lookback_h, looks_until=until)
    policy = epoch.inputs.policy
    policy = replace(policy, lookback_h=max(policy.lookback_h, lookback_h))
    inputs = replace(epoch.inputs, policy=policy, imported=None)
    return Given(rows, looks, scorer.profile, terms, inputs, epoch.subnet)

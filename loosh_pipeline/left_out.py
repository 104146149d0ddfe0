"""The rounds of a lookback that settling had to leave out: kept, named, and too many of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from loosh_pipeline.domain import Mode
from loosh_pipeline.paid import MAX_LEFT_OUT as MAX_LEFT_OUT
from loosh_pipeline.payouts import Payouts

LEFT_OUT: Mapping[str, Any] = {"challenge_id": pl.String, "of_rounds": pl.Int64, "mode": pl.String}
"""`of_rounds`: how many the lookback has, with those left out. `mode`: that of the run which left them out."""
NAMED = 20


def left_out_frame(payouts: Payouts, mode: Mode) -> pl.DataFrame:
    """One row for every round that was left out."""
    of_rounds = sum(payouts.rounds.values()) + len(payouts.left_out)
    rows = [(challenge_id, of_rounds, mode.value) for challenge_id in payouts.left_out]
    return pl.DataFrame(rows, schema=LEFT_OUT, orient="row")


def said_of(left_out: pl.DataFrame) -> str:
    """Which rounds are left out, of how many, and what to do about it."""
    if left_out.is_empty():
        return "none"
    named = ", ".join(left_out["challenge_id"][:NAMED]) + (" …" if left_out.height > NAMED else "")
    return (
        f"{left_out.height} of {left_out['of_rounds'][0]} rounds have not all pairs of their compared answers in "
        f"pair_evidence, or others, and are left out: backfill consensus_scores for {named} (all: rounds_left_out)"
    )


def too_many(left_out: pl.DataFrame) -> Mode | None:
    """The mode in which more than `MAX_LEFT_OUT` of a lookback was left out; None when it was less."""
    if left_out.is_empty() or left_out.height <= MAX_LEFT_OUT * left_out["of_rounds"][0]:
        return None
    return Mode(left_out["mode"][0])

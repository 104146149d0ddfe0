"""What another scorer changes in a round, beside the scores that paid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from loosh_pipeline.store.score_frames import INPUTS_DIGEST


@dataclass(frozen=True, slots=True)
class Move:
    """How a round's payouts change, of the round by itself: what is paid is settled over a window of rounds.

    Payouts are taken as parts of the round's whole pay, so that profiles compare.

    `moved` in [0, 1]: the part of the pay that goes to other miners. `mean_move`: the mean change of a miner's part.
    `rank_correlation` in [-1, 1] (Spearman, ties share a rank); None where either pays all miners alike.
    """

    moved: float
    mean_move: float
    rank_correlation: float | None


def compared(before: Mapping[str, float], after: Mapping[str, float]) -> Move:
    """What changed between two payouts of a round, by hotkey; who is in one alone was paid 0 in the other."""
    hotkeys = sorted(before.keys() | after.keys())
    old, new = (_parts([payouts.get(hotkey, 0.0) for hotkey in hotkeys]) for payouts in (before, after))
    change = np.abs(new - old)
    # Where one of them pays nobody, all that the other pays has moved.
    moved = max(float(np.maximum(new - old, 0).sum()), float(np.maximum(old - new, 0).sum()))
    return Move(min(1.0, moved), float(change.mean()) if len(change) else 0.0, rank_correlation(old, new))


def differing(stored: pl.DataFrame, now: pl.DataFrame) -> tuple[str, ...]:
    """Columns in which two tables of the same rows differ, to the bit; all where they have other rows.

    The digest of the inputs, which rows of earlier releases lack, is no difference where it is missing.
    """
    if INPUTS_DIGEST not in stored.columns:
        now = now.drop(INPUTS_DIGEST, strict=False)
    if stored.height != now.height:
        return tuple(now.columns)
    names = dict.fromkeys([*now.columns, *stored.columns])
    there = set(now.columns) & set(stored.columns)
    return tuple(name for name in names if name not in there or not stored[name].equals(now[name], check_dtypes=True))


def _parts(payouts: Sequence[float]) -> NDArray[np.float64]:
    total = math.fsum(payouts)
    return np.array(payouts) / total if total > 0 else np.zeros(len(payouts))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Spearman's, of equally long values; None where one of them is all alike."""
    one, other = (_ranks(values) for values in (first, second))
    one, other = one - one.mean() if len(one) else one, other - other.mean() if len(other) else other
    size = math.sqrt(float(one @ one) * float(other @ other))
    return max(-1.0, min(1.0, float(one @ other) / size)) if size > 0 else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1 on; equal values have the mean of their ranks."""
    below = (values[:, np.newaxis] > values).sum(axis=1)
    equal = (values[:, np.newaxis] == values).sum(axis=1)
    ranks: NDArray[np.float64] = below + (equal + 1) / 2
    return ranks

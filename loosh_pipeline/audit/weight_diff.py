"""Two settings of weights beside one another: who has more, who has less, and whom a rule treats otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from loosh_pipeline.domain import Hotkey, RuleAct
from loosh_pipeline.policy.inputs import Earned
from loosh_pipeline.policy.sybil import SYBIL, one_source
from loosh_pipeline.rescoring.comparing import rank_correlation

ONE_SOURCE = "one_source"
"""By which somebody is flagged who is taken for one source with another; all else is the rule `sybil_penalty`."""
ALIKE = 1e-9
"""Relative difference below which a rule left the same part of a share: rounding alone makes some."""


@dataclass(frozen=True, slots=True)
class Move:
    """What somebody has under one, and under the other: shares of 1."""

    hotkey: Hotkey
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Flag:
    """Somebody who is taken for a copy, or loses something for being suspected. `why`: in the words of who says it."""

    hotkey: Hotkey
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class WeightDiff:
    """How two settings differ. `moves`: whoever has anything under either, who changes most first.

    `total_variation` in [0, 1]: the part of all weight that goes to others. `rank_correlation` in [-1, 1]: Spearman's,
    ties share a rank; None where either weighs all alike. `comparable`: both give weight to somebody.
    """

    moves: tuple[Move, ...]
    total_variation: float
    rank_correlation: float | None
    comparable: bool
    newly_flagged: tuple[Flag, ...] = ()
    no_longer_flagged: tuple[Flag, ...] = ()

    @property
    def vtrust(self) -> float | None:
        """What is left of the first one's weights if all other validators set the second's; None where either is none.

        On chain each weight is clipped at the stake-weighted median: the sum of the smaller ones is left, which is 1
        less the total variation.
        """
        return 1.0 - self.total_variation if self.comparable else None


def weight_diff(
    before: Mapping[Hotkey, float],
    after: Mapping[Hotkey, float],
    flagged_before: Iterable[Flag] = (),
    flagged_after: Iterable[Flag] = (),
) -> WeightDiff:
    """Both sum to 1, or are empty, which is as if all went to nobody."""
    hotkeys = sorted(before.keys() | after.keys())
    moves = [Move(hotkey, before.get(hotkey, 0.0), after.get(hotkey, 0.0)) for hotkey in hotkeys]
    one, other = (np.array([getattr(each, name) for each in moves]) for name in ("before", "after"))
    gained = math.fsum(max(each.change, 0.0) for each in moves)
    lost = math.fsum(max(-each.change, 0.0) for each in moves)
    old, new = ({(each.hotkey, each.by): each for each in flags} for flags in (flagged_before, flagged_after))
    return WeightDiff(
        moves=tuple(sorted(moves, key=lambda each: (-abs(each.change), each.hotkey))),
        total_variation=min(1.0, max(gained, lost)),
        rank_correlation=rank_correlation(one, other),
        comparable=any(before.values()) and any(after.values()),
        newly_flagged=tuple(new[key] for key in sorted(new.keys() - old.keys())),
        no_longer_flagged=tuple(old[key] for key in sorted(old.keys() - new.keys())),
    )


def flags_of(earned: Earned, acts: Iterable[RuleAct]) -> list[Flag]:
    """Who is taken for one source with another, and from whom the penalty of sybils took. What else rules do, such as
    caps, says nothing of anybody: `other_acts` has it.
    """
    found = [
        Flag(hotkey, ONE_SOURCE, f"one source with {_other(hotkey, pair.first, pair.second)} to {pair.degree:.0%}")
        for hotkey, pair in sorted(one_source(earned.sources).items())
    ]
    struck = {act.hotkey: act for act in acts if act.rule == SYBIL and act.after < act.before}
    return found + [Flag(hotkey, SYBIL, act.reason) for hotkey, act in struck.items()]


def _other(hotkey: Hotkey, first: Hotkey, second: Hotkey) -> Hotkey:
    return second if hotkey == first else first


@dataclass(frozen=True, slots=True)
class OtherAct:
    """A rule that treats somebody otherwise: its acts, None where it does not act. `hotkey` is empty where it concerns
    all.
    """

    rule: str
    hotkey: Hotkey
    was: RuleAct | None
    would: RuleAct | None


def other_acts(before: Iterable[RuleAct], after: Iterable[RuleAct]) -> tuple[OtherAct, ...]:
    """Of two proposals, by rule and hotkey: acts that are in one alone, or leave another part of a share.

    That shares are scaled to a whole in between is no act.
    """
    old, new = ({(act.rule, act.hotkey): act for act in acts} for acts in (before, after))
    keys = sorted(old.keys() | new.keys())
    found = (OtherAct(*key, old.get(key), new.get(key)) for key in keys)
    return tuple(each for each in found if not _alike(each.was, each.would))


def _alike(was: RuleAct | None, would: RuleAct | None) -> bool:
    """Whether both leave the same part of a share; of what gives to who has nothing, the same share."""
    if was is None or would is None:
        return False
    if was.before > 0 and would.before > 0:
        return math.isclose(was.after / was.before, would.after / would.before, rel_tol=ALIKE)
    return was.before == would.before and math.isclose(was.after, would.after, rel_tol=ALIKE)

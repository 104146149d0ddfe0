"""A comparison of two miners in sentences. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from loosh_pipeline.audit.comparison import TOLD_FROM, Comparison, Factor, Part, Side

NAMES = {
    "answers": "asks answered",
    "worth": "worth of an answer",
    "sharing": "sharing of pay",
    "ramp": "ramp",
    "coverage": "coverage",
    "average": "moving average",
    "start": "share to begin with",
    "policy": "all rules of the policy",
    "set": "set of what was proposed",
}


@dataclass(frozen=True, slots=True)
class FactorSaid:
    """A row of the table: figures as they are shown, what the ratio is, and what part of the gap."""

    name: str
    said: str
    mine: float | None
    theirs: float | None
    ratio: float | None
    of_gap: float | None


@dataclass(frozen=True, slots=True)
class Said:
    """`headline`: in a sentence, who has how much; `why`: what decides it; `factors`: those that differ, in order."""

    headline: str
    why: str
    factors: tuple[FactorSaid, ...]
    same: tuple[str, ...]


def said(found: Comparison) -> Said:
    return Said(
        headline=_headline(found),
        why=_why(found),
        factors=tuple(_factor(each) for each in found.parts),
        same=tuple(_name(each) for each in found.factors if each.same),
    )


def _factor(part: Part) -> FactorSaid:
    factor = part.factor
    sentence = factor.said[:1].upper() + factor.said[1:]
    return FactorSaid(_name(factor), sentence, factor.mine, factor.theirs, factor.ratio, part.of_gap)


def _name(factor: Factor) -> str:
    return NAMES.get(factor.name, factor.name.replace("_", " "))


def _headline(found: Comparison) -> str:
    mine, theirs = found.mine, found.theirs
    weights = f"{mine.weight:.2%} against {theirs.weight:.2%}"
    if found.ratio is None:
        return f"{_who_has_none(mine, theirs)}: {weights} of all weight."
    if abs(found.ratio - 1) < TOLD_FROM:
        return f"Both have the same weight: {weights} of all."
    more = "less" if found.ratio < 1 else "more"
    return f"It has {more} than the other: {weights} of all weight, {found.ratio:.3g} times as much."


def _who_has_none(mine: Side, theirs: Side) -> str:
    if not mine.weight and not theirs.weight:
        return "Neither has a weight"
    return "It has no weight" if not mine.weight else "The other has no weight"


def _why(found: Comparison) -> str:
    """The one sentence for who reads no table."""
    if found.decisive is not None:
        name, told = _name(found.decisive), found.decisive.said
        return f"What decides it is the first factor at which one has nothing and the other something, {name}: {told}."
    if found.ratio is None:
        return "From what is kept of this epoch the reason cannot be told."
    gaps = [each for each in found.parts if each.of_gap is not None]
    if not gaps or abs(found.ratio - 1) < TOLD_FROM:
        return ""
    most = max(gaps, key=lambda each: each.of_gap or 0.0)
    others = ", ".join(f"{_name(each.factor)} {each.of_gap:.0%}" for each in gaps if each is not most)
    rest = f" The others: {others}." if others else " Nothing else differs."
    return f"Most of the gap is {_name(most.factor)} ({most.of_gap:.0%}): {most.factor.said}.{rest}"

"""A comparison of two miners in sentences, and what is behind the worth of their answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loosh_pipeline.audit.comparison import TOLD_FROM, Comparison, Factor, Part, Side
from loosh_pipeline.audit.worth import Means, Worths
from loosh_pipeline.scoring.explanation import MEANS

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
    rest = f" The others: {others}." if others else ""
    return f"Most of the gap is {_name(most.factor)} ({most.of_gap:.0%}): {most.factor.said}.{rest}"


@dataclass(frozen=True, slots=True)
class Figure:
    """What a mean of two miners is called, what it says, and with how many digits it is shown. `of`: what is shown of
    the stored figure.
    """

    title: str
    says: str
    digits: int = 3
    of: float = 1.0


FIGURES: Mapping[str, Figure] = {
    "payout": Figure("settled pay", "for a round that both answered; 1 is an average independent answer"),
    "agreement": Figure("agreement", "what the votes of its peers make of it; pay goes with a power of it"),
    "share": Figure("share", "of one pay, left after sharing it with answers of one source"),
    "relevance": Figure("relevance", "likeness to the question; below its gate an answer is off topic, and unpaid"),
    "meaning": Figure("meaning", MEANS["meaning"]),
    "coverage": Figure("coverage", MEANS["coverage"]),
    "wording": Figure("wording", MEANS["wording"]),
    "speed_factor": Figure("speed", "factor for its time beside the median: above 1 is faster"),
    "words": Figure("words", "of an answer", 0),
    "elapsed_ms": Figure("seconds", "from sending the challenge to the end of the answer", 2, 0.001),
}
TELLING = ("meaning", "coverage", "wording")
"""What agreement is made of."""
APART = 1.01
"""A ratio from which a mean is told as different: of agreement, pay goes with a power of it."""


@dataclass(frozen=True, slots=True)
class FigureSaid:
    """A row of the table."""

    figure: Figure
    mine: float | None
    theirs: float | None


def figures(found: Worths) -> list[FigureSaid]:
    """Those that are known of both."""
    return [_figure(each) for each in found.means if each.mine is not None]


def _figure(each: Means) -> FigureSaid:
    figure = FIGURES[each.name]
    return FigureSaid(figure, *(None if value is None else value * figure.of for value in (each.mine, each.theirs)))


def behind(found: Worths) -> str:
    """The one sentence of what makes an answer of one worth less than one of the other."""
    over = (
        f"over the {found.rounds} rounds that both answered" if found.rounds > 1 else "in the round that both answered"
    )
    mine, theirs = found.off_topic
    if abs(mine - theirs) * 2 > found.measured:
        return f"Its answers were off topic in {mine} of {found.measured} rounds, those of the other in {theirs}."
    agreement, share = found.mean("agreement"), found.mean("share")
    if _apart(agreement):
        made_of = [each for each in map(found.mean, TELLING) if _apart(each) and _less(each) is _less(agreement)]
        widest = max(made_of, key=_ratio, default=None)
        most = "" if widest is None else f" Of what it is made of, most apart is {_both(widest)}."
        return f"Behind it is {_both(agreement)}, {over}: pay goes with a power of that.{most}"
    if _apart(share):
        return f"Behind it is {_both(share)}, {over}: pay is shared with answers of one source."
    return f"Their answers are alike in agreement, {over}; what differs is in the table."


def _both(means: Means) -> str:
    figure = _figure(means)
    mine, theirs = (f"{value or 0:.{figure.figure.digits}f}" for value in (figure.mine, figure.theirs))
    return f"{figure.figure.title} ({mine}, of the other {theirs})"


def _ratio(means: Means) -> float:
    small, large = sorted((means.mine or 0.0, means.theirs or 0.0))
    return float("inf") if small <= 0 else large / small


def _apart(means: Means) -> bool:
    return means.mine is not None and means.mine != means.theirs and _ratio(means) >= APART


def _less(means: Means) -> bool:
    return (means.mine or 0.0) < (means.theirs or 0.0)

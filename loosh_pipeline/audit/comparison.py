"""Why one miner has less weight than another: the factors of their pay beside one another, in the order they act.

A weight is a product, up to what is the same for all:

    answers   asks that were answered, of all asks, newer ones counting more as they do in the mean payout
    worth     what an answered ask was worth to it on average, before it shared pay with its like
    sharing   what it keeps of that where its answers count for one source with those of others
    ramp, coverage                    as of `emissions`; answers · worth · sharing is the mean payout, and without
                                      answers, where that part is not kept
    average   the network's method alone: its moving average beside the mean payout
    a rule of the policy              its share of the whole after the rule, of that before it
    set       what was submitted, of what was proposed

So the ratio of two weights is the product of the ratios of these, and each ratio says what part of the gap it is.
Where something is 0 there is no ratio, and the first 0 is the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from loosh_pipeline.domain import Emission, Hotkey

ANSWERS, WORTH, SHARING, RAMP, COVERAGE = "answers", "worth", "sharing", "ramp", "coverage"
AVERAGE, START, POLICY, SET = "average", "start", "policy", "set"
ALIKE = 1e-9
"""Relative difference below which two figures, and two ways to the same one, are the same."""
TOLD_FROM = 5e-4
"""Relative difference below which nothing is said of a factor: it would be shown as the same number."""


@dataclass(frozen=True, slots=True)
class RuleTaken:
    """What one rule of the policy made of a miner's share of the whole; `reason` of its acts on it, if any."""

    rule: str
    before: float
    after: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """What is stored of one miner. `emission`: None where it was not asked. `kept`: the part of its pay that it keeps
    where it shares, 1 where it shares none. `answered`: the part of its asks that it answered, counted by age as in its
    mean payout; None where that is not kept. `start`: its share where no emissions made the weights. `rules`: all that
    acted on anybody, in order, the same for both sides. `proposed`: its share after them.
    """

    hotkey: Hotkey
    weight: float
    emission: Emission | None = None
    kept: float = 1.0
    start: float | None = None
    rules: tuple[RuleTaken, ...] = ()
    proposed: float | None = None
    answered: float | None = None
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of both. `ratio`: mine of theirs; None where either is 0, or nothing was made to something."""

    name: str
    mine: float | None
    theirs: float | None
    said: str
    left: tuple[float, float] | None = None
    """What each has after it, where that may be something though there was nothing before."""

    @property
    def nothing(self) -> tuple[bool, bool]:
        """Whether mine and theirs have nothing by it."""
        mine, theirs = (self.mine, self.theirs) if self.left is None else self.left
        return not mine, not theirs

    @property
    def ratio(self) -> float | None:
        if not self.mine or not self.theirs:
            return None
        return self.mine / self.theirs

    @property
    def same(self) -> bool:
        if self.mine is None or self.theirs is None:
            return self.mine is self.theirs
        return math.isclose(self.mine, self.theirs, rel_tol=TOLD_FROM, abs_tol=ALIKE)


@dataclass(frozen=True, slots=True)
class Part:
    """A factor that differs. `of_gap`: which part of the whole gap it is, in orders of magnitude, so that the parts sum
    to 1; below 0 for one that works the other way. None where there is no ratio of the weights.
    """

    factor: Factor
    of_gap: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ratio`: weight of mine of that of theirs; None where either has none. `exact`: the factors multiply to it.
    `decisive`: where there is no ratio, the first factor at which who has no weight has nothing, and the other has
    something.
    """

    mine: Side
    theirs: Side
    ratio: float | None
    factors: tuple[Factor, ...]
    parts: tuple[Part, ...]
    exact: bool
    decisive: Factor | None


def compared(mine: Side, theirs: Side) -> Comparison:
    """Put two miners of one epoch beside one another."""
    factors = tuple(_factors(mine, theirs))
    ratio = mine.weight / theirs.weight if mine.weight and theirs.weight else None
    gap = 0.0 if ratio is None else math.log(ratio)
    differing = [each for each in factors if not each.same]
    parts = tuple(Part(each, _of_gap(each, gap)) for each in differing)
    ratios = [each.ratio for each in factors]
    exact = ratio is not None and all(ratios) and math.isclose(_product(ratios), ratio, rel_tol=ALIKE)
    decisive = _decisive(mine, theirs, factors) if ratio is None else None
    return Comparison(mine, theirs, ratio, factors, parts, exact, decisive)


def _decisive(mine: Side, theirs: Side, factors: Sequence[Factor]) -> Factor | None:
    """Where neither has a weight, the first at which one has nothing alone, and else the first at which both do."""
    without = not mine.weight, not theirs.weight
    found = [each for each in factors if each.nothing == without]
    alone = [each for each in factors if each.nothing[0] is not each.nothing[1]]
    return next(iter(alone + found if all(without) else found + alone), None)


def _product(ratios: list[float | None]) -> float:
    return math.prod(each for each in ratios if each is not None)


def _of_gap(factor: Factor, gap: float) -> float | None:
    if not factor.ratio or abs(gap) < TOLD_FROM:
        return None
    return math.log(factor.ratio) / gap


def _factors(mine: Side, theirs: Side) -> Iterator[Factor]:
    if mine.start is not None or theirs.start is not None:
        said = "these weights do not rest on what was earned here: this is the share that each began with"
        yield Factor(START, mine.start or 0.0, theirs.start or 0.0, said)
    else:
        yield from _earned(mine, theirs)
    yield from _policy(mine, theirs)


def _earned(mine: Side, theirs: Side) -> Iterator[Factor]:
    a, b = mine.emission, theirs.emission
    yield from _answers(mine, theirs)
    said = (
        f"where answers count for one source with those of others, their pay is shared: it keeps {mine.kept:.0%} of "
        f"its own, the other {theirs.kept:.0%}"
    )
    yield Factor(SHARING, mine.kept, theirs.kept, said)
    ramp = [1.0 if each is None else each.ramp for each in (a, b)]
    evidence = [0.0 if each is None else each.evidence for each in (a, b)]
    one, other = (f"{worth:.1f} as evidence, a ramp of {part:.3f}" for worth, part in zip(evidence, ramp, strict=True))
    said = f"its rounds are worth {one}; those of the other {other}"
    yield Factor(RAMP, ramp[0], ramp[1], said)
    coverage = [1.0 if each is None else each.coverage for each in (a, b)]
    said = f"it was there {coverage[0]:.1%} of the time, the other {coverage[1]:.1%}"
    yield Factor(COVERAGE, coverage[0], coverage[1], said)
    average = _average(a), _average(b)
    if any(each is not None and not math.isclose(each, 1.0, rel_tol=ALIKE) for each in average):
        said = "pay is a moving average here, in which the newest rounds count most: beside the mean payout it is"
        yield Factor(AVERAGE, *average, f"{said} {_number(average[0])} of it, of the other {_number(average[1])}")


def _answers(mine: Side, theirs: Side) -> Iterator[Factor]:
    """How much each answered, and what an answer was worth; in one where the former is not known of both as it counts
    in pay: by mere counts what an answer was worth would come out wrong.
    """
    answered = _answered(mine), _answered(theirs)
    counts = f"it answered {_asks(mine.emission)}, the other {_asks(theirs.emission)}"
    if None in answered:
        worth = _worth(mine, 1.0), _worth(theirs, 1.0)
        said = f"an ask of it was worth {_number(worth[0])} on average, one of the other {_number(worth[1])}"
        yield Factor(WORTH, *worth, f"{said}; {counts}")
        return
    parts = " and ".join(_part(each) for each in answered)
    said = f"{counts}; newer ones count more, which makes it {parts}"
    yield Factor(ANSWERS, *answered, said)
    worth = _worth(mine, answered[0]), _worth(theirs, answered[1])
    said = f"an answer of it was worth {_number(worth[0])} on average, one of the other {_number(worth[1])}"
    yield Factor(WORTH, *worth, said)


def _answered(side: Side) -> float | None:
    """0 for who answered nothing, or was not asked; None where it is not known."""
    if side.emission is None or not side.emission.answered:
        return 0.0
    return side.answered


def _asks(emission: Emission | None) -> str:
    if emission is None:
        return "was never asked"
    return f"{emission.answered} of {emission.asked} asks"


def _worth(side: Side, answered: float | None) -> float | None:
    """What an ask of which this part was answered was worth on average, where it shared with none."""
    if side.emission is None or not answered or not side.kept:
        return None
    return side.emission.mean_payout / answered / side.kept


def _part(answered: float | None) -> str:
    return "nothing" if not answered else f"{answered:.1%}"


def _average(emission: Emission | None) -> float | None:
    """The emission beside what mean payout, ramp and coverage make: 1 but for the network's method."""
    if emission is None:
        return None
    product = emission.mean_payout * emission.ramp * emission.coverage
    return emission.emission / product if product else None


def _policy(mine: Side, theirs: Side) -> Iterator[Factor]:
    for a, b in zip(mine.rules, theirs.rules, strict=True):
        yield Factor(a.rule, _left(a), _left(b), _ruled(a, b), (a.after, b.after))
    said = f"proposed were {_share(mine.proposed)} and {_share(theirs.proposed)}"
    yield Factor(SET, _set(mine), _set(theirs), f"{said}; set were {mine.weight:.2%} and {theirs.weight:.2%}")


def _left(taken: RuleTaken) -> float | None:
    return taken.after / taken.before if taken.before else None


def _ruled(a: RuleTaken, b: RuleTaken) -> str:
    one, other = (f"from {each.before:.2%} of all to {each.after:.2%}" for each in (a, b))
    said = f"the rule {a.rule} took it {one}, and the other {other}"
    reasons = [f"{whose}: {each.reason}" for whose, each in (("it", a), ("the other", b)) if each.reason]
    return "; ".join([said, *reasons])


def _set(side: Side) -> float | None:
    return side.weight / side.proposed if side.proposed else None


def _share(share: float | None) -> str:
    return "nothing" if not share else f"{share:.2%}"


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3f}"

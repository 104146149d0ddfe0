"""Why each answer of a round was paid what it was paid, and whose votes made that: as `scoring.explain` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingress.pages.round_facts import Scored
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.explanation import REASONS, REMOVED, Explanation, short
from loosh_pipeline.wire.text import printable

MOST = 12
"""Answers that are explained, the best paid first: each is judged several times over."""
LINE_CHARS = 400
ALONE = 0.995
"""Share of a pay above which it is said to be unshared: it would be shown as 100 %."""
TELLING = 0.005
"""Of a view: less would be shown as no difference."""


@dataclass(frozen=True, slots=True)
class Why:
    """The lines of an explanation, or why there is none. `decisive`: what told most, in a sentence; `votes`: which part
    of all votes it heard is whose.
    """

    decisive: str = ""
    lines: tuple[str, ...] = ()
    unexplained: str = ""
    votes: Mapping[Hotkey, float] = field(default_factory=dict)


def whys(scored: Scored | None, hotkeys: Sequence[Hotkey], names: Mapping[Hotkey, str]) -> dict[Hotkey, Why]:
    """By hotkey, of the first of these. Nothing without the pairs that it is made of. `names`: of everybody asked."""
    if scored is None or not scored.paired:
        return {}
    return {hotkey: _why(scored, hotkey, names) for hotkey in hotkeys[:MOST]}


def _why(scored: Scored, hotkey: Hotkey, names: Mapping[Hotkey, str]) -> Why:
    # Imported here: what scores takes half a second to load, and whatever takes challenges needs none of it.
    from loosh_pipeline.scoring.explain import explain

    if scored.profile is None:
        return Why(unexplained="this release does not know the scorer that paid")
    try:
        found = explain(scored.scores, hotkey, profile=scored.profile)
    except ValueError as error:
        return Why(unexplained=printable(str(error), LINE_CHARS))
    # the first line names the challenge and the miner, as the page did; the reason is what is said first
    told = [line for line in found.text().split("\n")[1:] if not line.startswith("It was paid nothing because")]
    lines = tuple(printable(_named(line, names), LINE_CHARS) for line in told)
    return Why(decisive(found), lines, votes={peer.hotkey: peer.part for peer in found.peers})


def _named(line: str, names: Mapping[Hotkey, str]) -> str:
    """The same with the names that the page uses in place of shortened hotkeys."""
    for hotkey, name in names.items():
        line = line.replace(short(hotkey), name) if short(hotkey) in line else line
    return line


def decisive(found: Explanation) -> str:
    """What told most: why it was paid nothing, that it shares its pay, or what sets it apart from the others."""
    if found.reason:
        return f"It was paid nothing because {REASONS.get(found.reason, found.reason.replace('_', ' '))}."
    if found.copies and found.share < ALONE:
        whom = "one copy" if len(found.copies) == 1 else f"{len(found.copies)} copies"
        return f"It shares one pay with {whom}: {found.share:.0%} of that is its own."
    if found.row.measure is not None and found.emission is not None:
        measured = found.row.measure
        why = REMOVED.get(measured.removed_by, "it was the only answer")
        return "It is in consensus." if measured.in_consensus else f"It is out of consensus: {why}."
    return _by_its_views(found)


def _by_its_views(found: Explanation) -> str:
    """The view that moves agreement most to the side on which its pay is."""
    low = found.payout < 1
    views = [view for view in found.views if (view.shortfall > 0) == low and abs(view.shortfall) >= TELLING]
    if not views:
        return "It is much like the average answer of this round in meaning, coverage and wording."
    most = max(views, key=lambda view: abs(view.shortfall) * view.weight)
    side = "below" if low else "above"
    return (
        f"What told most is {most.name}: {most.value:.2f}, {abs(most.shortfall):.2f} {side} the others' average, "
        f"so that its score was {found.score:.4g} where {found.typical_score:.4g} earns 1."
    )

"""Why each answer of a round was paid what it was paid, and whose votes made that: as `scoring.explain` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingress.pages.round_facts import Scored
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.wire.text import printable

MOST = 12
"""Answers that are explained, the best paid first: each is judged several times over."""
LINE_CHARS = 400


@dataclass(frozen=True, slots=True)
class Why:
    """The lines of an explanation, or why there is none. `votes`: which part of all votes it heard is whose."""

    lines: tuple[str, ...] = ()
    unexplained: str = ""
    votes: Mapping[Hotkey, float] = field(default_factory=dict)


def whys(scored: Scored | None, hotkeys: Sequence[Hotkey]) -> dict[Hotkey, Why]:
    """By hotkey, of the first of these. Nothing without the pairs that it is made of."""
    if scored is None or not scored.paired:
        return {}
    return {hotkey: _why(scored, hotkey) for hotkey in hotkeys[:MOST]}


def _why(scored: Scored, hotkey: Hotkey) -> Why:
    # Imported here: what scores takes half a second to load, and whatever takes challenges needs none of it.
    from loosh_pipeline.scoring.explain import explain

    if scored.profile is None:
        return Why(unexplained="this release does not know the scorer that paid")
    try:
        found = explain(scored.scores, hotkey, profile=scored.profile)
    except ValueError as error:
        return Why(unexplained=printable(str(error), LINE_CHARS))
    lines = tuple(printable(line, LINE_CHARS) for line in found.text().split("\n"))
    return Why(lines, votes={peer.hotkey: peer.part for peer in found.peers})

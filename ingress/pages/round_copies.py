"""Which answers of a round are copies of which, for its page: pure functions over stored scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.narrative.facts import copy_groups
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.pairs import PairEvidence
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.store.settled import SettledRound

COLOURS = 6
"""How many kinds of marks the styles have; further groups begin again, under letters of their own."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Alike:
    """One answer of the same source as another. `wording`: how far they use the same words, None where that is not
    kept; `shared`: what else they have in common; `by_window`: other rounds say so, and not this one.
    """

    name: str
    wording: float | None
    shared: str = ""
    by_window: bool = False


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Answers of one source. `least` and `most`: how alike they are worded, two by two."""

    letter: str
    colour: int
    names: tuple[str, ...]
    hotkeys: frozenset[Hotkey]
    least: float | None
    most: float | None


def with_window(scored: RoundScores, settled: SettledRound | None) -> RoundScores:
    """The same round, whose rows name as copies too whom other rounds of its window show to be of one source."""
    if settled is None:
        return scored
    asked = {row.hotkey for row in scored.scores}
    return replace(scored, scores=tuple(_with_sources(row, settled, asked) for row in scored.scores))


def _with_sources(row: Score, settled: SettledRound, asked: Collection[Hotkey]) -> Score:
    found = settled.answers.get(row.hotkey)
    known = {*row.copies}
    more = [each for each in found.sources if each in asked and each not in known] if found else []
    return replace(row, copies=(*row.copies, *more)) if more else row


def groups_of(scored: RoundScores | None, names: Mapping[Hotkey, str]) -> tuple[CopyGroup, ...] | None:
    """The groups of copies, by the lowest uid in each; None where nobody looked for any. `names`: of all asked."""
    if scored is None or scored.profile == NetworkProfile.name:
        return None
    ordered = sorted(
        (sorted(group, key=lambda each: _place(names.get(each, each))) for group in copy_groups(scored.scores)),
        key=lambda group: _place(names.get(group[0], group[0])),
    )
    pairs = {(pair.first, pair.second): pair for pair in scored.pairs}
    return tuple(_group(at, group, names, pairs) for at, group in enumerate(ordered))


def _place(name: str) -> tuple[int, str]:
    """So that uid 10 comes after uid 9."""
    return len(name), name


def _group(
    at: int,
    hotkeys: Sequence[Hotkey],
    names: Mapping[Hotkey, str],
    pairs: Mapping[tuple[Hotkey, Hotkey], PairEvidence],
) -> CopyGroup:
    found = [pairs.get((min(pair), max(pair))) for pair in combinations(hotkeys, 2)]
    wording = [each.wording for each in found if each is not None]
    return CopyGroup(
        letter=LETTERS[at % len(LETTERS)] + str(at // len(LETTERS) or ""),
        colour=at % COLOURS,
        names=tuple(names.get(each, each) for each in hotkeys),
        hotkeys=frozenset(hotkeys),
        least=min(wording, default=None),
        most=max(wording, default=None),
    )


def alikes(
    hotkeys: Iterable[Hotkey], scored: RoundScores | None, alone: RoundScores | None, names: Mapping[Hotkey, str]
) -> dict[Hotkey, tuple[Alike, ...]]:
    """Whose answers are copies of each one's, the most alike first. `alone`: the round without its window."""
    if scored is None:
        return {}
    pairs = {(pair.first, pair.second): pair for pair in scored.pairs}
    copies, by_itself = _copies(scored), _copies(alone)
    found = {}
    for hotkey in hotkeys:
        own = by_itself.get(hotkey, frozenset())
        each = [
            _alike(names.get(other, other), pairs.get((min(hotkey, other), max(hotkey, other))), other not in own)
            for other in copies.get(hotkey, ())
        ]
        found[hotkey] = tuple(sorted(each, key=lambda each: (-(each.wording or 0.0), _place(each.name))))
    return found


def _copies(scored: RoundScores | None) -> dict[Hotkey, frozenset[Hotkey]]:
    return {each.hotkey: frozenset(each.copies) for each in scored.scores} if scored else {}


def _alike(name: str, pair: PairEvidence | None, by_window: bool) -> Alike:
    if pair is None:
        return Alike(name, None, by_window=by_window)
    shared = [said for said, same in (("address", pair.same_address), ("coldkey", pair.same_coldkey)) if same]
    return Alike(name, pair.wording, " and ".join(shared), by_window)

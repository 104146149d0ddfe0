"""Miners whose answers are taken for those of one source, as groups with short names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loosh_pipeline.domain import Hotkey, OneSource
from loosh_pipeline.policy.sybil import ONE_SOURCE

LETTERS = 26


@dataclass(frozen=True, slots=True)
class SourceGroup:
    """`members`: by hotkey, two or more. `degree`: of the surest pair among them."""

    name: str
    members: tuple[Hotkey, ...]
    degree: float


def groups_of(sources: Iterable[OneSource], weights: Mapping[Hotkey, float]) -> tuple[SourceGroup, ...]:
    """Whoever counts for one source, directly or through others; the group with the most weight is A."""
    pairs = [each for each in sources if each.degree >= ONE_SOURCE]
    found: dict[Hotkey, set[Hotkey]] = {}
    for each in pairs:
        joined = found.get(each.first, {each.first}) | found.get(each.second, {each.second})
        found |= dict.fromkeys(joined, joined)
    groups = {tuple(sorted(members)) for members in found.values()}
    ordered = sorted(groups, key=lambda members: (-sum(weights.get(h, 0.0) for h in members), members))
    return tuple(
        SourceGroup(_name(place), members, max(each.degree for each in pairs if each.first in members))
        for place, members in enumerate(ordered)
    )


def _name(place: int) -> str:
    """A to Z, then AA, AB and on."""
    name = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, LETTERS)
        name = chr(ord("A") + letter) + name
    return name

"""What a round says of two answers, and what many rounds say of two identities.

Honest answers to an easy question look alike, so one round proves little; round after round, they do not. What counts
is the rate of rounds in which two identities are alike, not their mean likeness: over 30 to 60 rounds, honest pairs of
60 models have a rate of at most .10 and one model in three styles .12, copies with a quarter of the words dropped .65
and more. Who copies in half of the rounds has half of that, but the mean likeness of an honest pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from loosh_pipeline.domain import Hotkey, OneSource
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Flags, Floats, Ints, Signals
from loosh_pipeline.scoring.votes import evidence_of, ramp

Pair = tuple[Hotkey, Hotkey]
"""Two different hotkeys, the smaller first."""


@dataclass(frozen=True, slots=True)
class PairEvidence:
    """Two comparable answers of one round. With the rows of the round's scores, all of its signals.

    `coverage`: how much of the second is said by the first; `coverage_back` the other way. `evidence`: how much their
    likeness proves, in [0, 1], by the length of the shorter one.
    """

    first: Hotkey
    second: Hotkey
    similarity: float
    meaning: float
    coverage: float
    coverage_back: float
    wording: float
    evidence: float
    same_address: bool = False
    same_coldkey: bool = False


@dataclass(frozen=True, slots=True)
class PairHistory:
    """What the rounds that two identities shared say of them.

    `wording` and `similarity`: means over the rounds, weighted by `evidence`, their sum; None without any.
    `mean_wording`: the same, shrunk towards that of honest pairs. `alike_rate`: part of the evidence in which they were
    worded alike, shrunk likewise. `degree` in [0, 1]: how far they are one source, by that rate.
    """

    rounds: int
    evidence: float
    wording: float | None
    similarity: float | None
    mean_wording: float
    alike_rate: float
    degree: float
    same_address: bool
    same_coldkey: bool


def pair_evidence(
    signals: Signals, profile: RobustProfile, places: Mapping[Hotkey, tuple[str, str]]
) -> list[PairEvidence]:
    """One value for every pair of comparable answers. `places`: address and coldkey of each, empty when unknown."""
    evidence = evidence_of(signals.words, profile)
    found = []
    for i, first in enumerate(signals.hotkeys):
        ip, coldkey = places.get(first, ("", ""))
        for j in range(i + 1, len(signals)):
            second = signals.hotkeys[j]
            other_ip, other_coldkey = places.get(second, ("", ""))
            found.append(
                PairEvidence(
                    first,
                    second,
                    similarity=float(signals.similarity[i, j]),
                    meaning=float(signals.meaning[i, j]),
                    coverage=float(signals.coverage[i, j]),
                    coverage_back=float(signals.coverage[j, i]),
                    wording=float(signals.wording[i, j]),
                    evidence=float(evidence[i, j]),
                    same_address=bool(ip) and ip == other_ip,
                    same_coldkey=bool(coldkey) and coldkey == other_coldkey,
                )
            )
    return found


@dataclass(frozen=True, eq=False)
class PairColumns:
    """p pairs of many rounds as arrays (p,), fields as in `PairEvidence`.

    `round` is a place in a list of rounds, `first` and `second` are places in a sorted list of hotkeys; -1 is none.
    """

    round: Ints
    first: Ints
    second: Ints
    similarity: Floats
    meaning: Floats
    coverage: Floats
    coverage_back: Floats
    wording: Floats
    evidence: Floats
    same_address: Flags
    same_coldkey: Flags

    def __len__(self) -> int:
        return len(self.first)

    def at(self, rows: Ints, rounds: Ints, miners: Ints) -> PairColumns:
        """Some of the pairs, their rounds and miners renumbered by these; the last of `miners` is for -1."""
        named: dict[str, Any] = {"round": rounds[self.round[rows]]}
        named |= {name: miners[getattr(self, name)[rows]] for name in ("first", "second")}
        others = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name not in named}
        return PairColumns(**named, **others)


@dataclass(frozen=True, eq=False)
class Histories:
    """The histories of the g pairs that met, sorted by pair: (g,), fields as in `PairHistory`, NaN for None.

    `keys` (g,): the place of the first in the sorted list of hotkeys, times their number, plus that of the second.
    """

    hotkeys: tuple[Hotkey, ...]
    keys: Ints
    rounds: Ints
    evidence: Floats
    wording: Floats
    similarity: Floats
    mean_wording: Floats
    alike_rate: Floats
    degree: Floats
    same_address: Flags
    same_coldkey: Flags

    def degrees(self, first: Ints, second: Ints) -> Floats:
        """Degrees to which these are one source, the smaller of each two first; 0 where they never met."""
        if not len(self.keys):
            return np.zeros(first.shape)
        keys = first * len(self.hotkeys) + second
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        degrees: Floats = np.where(self.keys[at] == keys, self.degree[at], 0.0)
        return degrees

    def by_pair(self) -> dict[Pair, PairHistory]:
        columns = {field.name: getattr(self, field.name).tolist() for field in fields(PairHistory)}
        for name in ("wording", "similarity"):
            columns[name] = [None if math.isnan(value) else value for value in columns[name]]
        found = zip(self.keys.tolist(), zip(*columns.values(), strict=True), strict=True)
        return {self._pair(key): PairHistory(*values) for key, values in found}

    def sources(self) -> dict[Pair, PairHistory]:
        """The histories of the pairs that are one source to any degree."""
        found = np.flatnonzero(self.degree > 0)
        columns = {each.name: getattr(self, each.name)[found] for each in fields(self) if each.name != "hotkeys"}
        return replace(self, **columns).by_pair()

    def _pair(self, key: int) -> Pair:
        first, second = divmod(key, len(self.hotkeys))
        return self.hotkeys[first], self.hotkeys[second]


def one_sources(sources: Mapping[Pair, PairHistory]) -> tuple[OneSource, ...]:
    """Pairs that are taken for one source, as emissions are told of them."""
    return tuple(
        OneSource(first, second, each.rounds, each.degree, each.same_address, each.same_coldkey)
        for (first, second), each in sources.items()
    )


def pair_histories(pairs: Iterable[PairEvidence], profile: RobustProfile) -> dict[Pair, PairHistory]:
    """The history of every pair, over all rounds that `pairs` are from; the same in any order of the rounds."""
    given = list(pairs)
    hotkeys = tuple(sorted({hotkey for each in given for hotkey in (each.first, each.second)}))
    at = {hotkey: i for i, hotkey in enumerate(hotkeys)}
    return histories_of(pair_columns(given, [0] * len(given), at), hotkeys, profile).by_pair()


def pair_columns(pairs: Sequence[PairEvidence], rounds: Sequence[int], at: Mapping[Hotkey, int]) -> PairColumns:
    """Pairs as arrays. `rounds`: the place of the round of each; `at`: the place of every hotkey, else -1."""

    def column(name: str, kind: type) -> Any:
        return np.array([getattr(each, name) for each in pairs], dtype=kind)

    measured = ("similarity", "meaning", "coverage", "coverage_back", "wording", "evidence")
    return PairColumns(
        round=np.array(rounds, dtype=np.int64),
        first=np.array([at.get(each.first, -1) for each in pairs], dtype=np.int64),
        second=np.array([at.get(each.second, -1) for each in pairs], dtype=np.int64),
        **{name: column(name, float) for name in measured},
        **{name: column(name, bool) for name in ("same_address", "same_coldkey")},
    )


def histories_of(pairs: PairColumns, hotkeys: tuple[Hotkey, ...], profile: RobustProfile) -> Histories:
    """The history of every pair, the same in any order of the rounds. `hotkeys`: the sorted list."""
    met = _Meetings(pairs.first * len(hotkeys) + pairs.second)
    evidence = met.sums(pairs.evidence)
    weighted = met.sums(pairs.evidence * pairs.wording)
    similar = met.sums(pairs.evidence * pairs.similarity)
    alike = met.sums(pairs.evidence * ramp(pairs.wording, profile.alike_low, profile.alike_high))
    rate = _shrunk(alike, evidence, profile.pair_prior_alike, profile.pair_prior_rounds)
    return Histories(
        hotkeys=hotkeys,
        keys=met.keys,
        rounds=met.counts,
        evidence=evidence,
        wording=_mean(weighted, evidence),
        similarity=_mean(similar, evidence),
        mean_wording=_shrunk(weighted, evidence, profile.mean_prior_wording, profile.mean_prior_rounds),
        alike_rate=rate,
        degree=ramp(rate, profile.pair_low, profile.pair_high),
        same_address=met.any(pairs.same_address),
        same_coldkey=met.any(pairs.same_coldkey),
    )


class _Meetings:
    """Which of p rows are of which of g pairs. `keys` (g,) sorted, `counts` (g,) how many rows each has."""

    def __init__(self, keys: Ints) -> None:
        self._order = np.argsort(keys, kind="stable")
        self.keys, self._starts, self.counts = np.unique(keys[self._order], return_index=True, return_counts=True)

    def sums(self, values: Floats) -> Floats:
        """(g,) the sum of each pair's values from the smallest on, so the same in any order of the rounds."""
        ordered, sums = values[self._order], np.zeros(len(self.keys))
        for count in np.unique(self.counts):
            pairs = np.flatnonzero(self.counts == count)
            sums[pairs] = np.sort(ordered[self._starts[pairs, np.newaxis] + np.arange(count)], axis=1).sum(axis=1)
        return sums

    def any(self, flags: Flags) -> Flags:
        found: Flags = np.logical_or.reduceat(flags[self._order], self._starts)
        return found


def _mean(total: Floats, evidence: Floats) -> Floats:
    mean: Floats = np.divide(total, evidence, out=np.full_like(total, math.nan), where=evidence > 0)
    return mean


def _shrunk(total: Floats, evidence: Floats, prior: float, prior_rounds: float) -> Floats:
    shrunk: Floats = (total + prior_rounds * prior) / np.maximum(evidence + prior_rounds, 1e-12)
    return shrunk


def same_source(hotkeys: Sequence[Hotkey], histories: Mapping[Pair, PairHistory]) -> Floats:
    """(n, n) degrees of the pairs of these identities, 0 where they never met, ones on the diagonal."""
    degrees = np.eye(len(hotkeys))
    for i, first in enumerate(hotkeys):
        for j in range(i + 1, len(hotkeys)):
            history = histories.get((first, hotkeys[j]))
            degrees[i, j] = degrees[j, i] = history.degree if history else 0.0
    return degrees

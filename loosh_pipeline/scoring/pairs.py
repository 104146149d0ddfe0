"""What a round says of two answers, and what many rounds say of two identities.

Honest answers to an easy question look alike, so one round proves little; round after round, they do not. What counts
is the rate of rounds in which two identities are alike, not their mean likeness: over 30 to 60 rounds, honest pairs of
60 models have a rate of at most .10 and one model in three styles .12, copies with a quarter of the words dropped .65
and more. Who copies in half of the rounds has half of that, but the mean likeness of an honest pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Floats, Signals
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


def pair_histories(pairs: Iterable[PairEvidence], profile: RobustProfile) -> dict[Pair, PairHistory]:
    """The history of every pair, over all rounds that `pairs` are from; the same in any order of the rounds."""
    by_pair: dict[Pair, list[PairEvidence]] = {}
    for each in pairs:
        by_pair.setdefault((each.first, each.second), []).append(each)
    return {pair: _history(by_pair[pair], profile) for pair in sorted(by_pair)}


def _history(rounds: Sequence[PairEvidence], profile: RobustProfile) -> PairHistory:
    weight = np.array([each.evidence for each in rounds])
    wording = np.array([each.wording for each in rounds])
    evidence = _summed(weight)
    weighted = _summed(weight * wording)
    similar = _summed(weight * np.array([each.similarity for each in rounds]))
    alike = _summed(weight * ramp(wording, profile.alike_low, profile.alike_high))
    rate = _shrunk(alike, evidence, profile.pair_prior_alike, profile.pair_prior_rounds)
    return PairHistory(
        rounds=len(rounds),
        evidence=evidence,
        wording=weighted / evidence if evidence > 0 else None,
        similarity=similar / evidence if evidence > 0 else None,
        mean_wording=_shrunk(weighted, evidence, profile.mean_prior_wording, profile.mean_prior_rounds),
        alike_rate=rate,
        degree=float(ramp(np.array(rate), profile.pair_low, profile.pair_high)),
        same_address=any(each.same_address for each in rounds),
        same_coldkey=any(each.same_coldkey for each in rounds),
    )


def _summed(values: Floats) -> float:
    """The sum, the same in any order of the rounds."""
    return float(np.sort(values).sum())


def _shrunk(total: float, evidence: float, prior: float, prior_rounds: float) -> float:
    return (total + prior_rounds * prior) / max(evidence + prior_rounds, 1e-12)


def same_source(hotkeys: Sequence[Hotkey], histories: Mapping[Pair, PairHistory]) -> Floats:
    """(n, n) degrees of the pairs of these identities, 0 where they never met, ones on the diagonal."""
    degrees = np.eye(len(hotkeys))
    for i, first in enumerate(hotkeys):
        for j in range(i + 1, len(hotkeys)):
            history = histories.get((first, hotkeys[j]))
            degrees[i, j] = degrees[j, i] = history.degree if history else 0.0
    return degrees

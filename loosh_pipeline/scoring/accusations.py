"""Who is accused of copying: identities whose answers are worded alike over enough rounds, with a measured error.

An accusation says that two identities are worded alike far beyond what independent answers are. It does not say who
copies whom, and who is copied is named with the copier. Sharing an address or a coldkey accuses nobody and lowers no
threshold: no data says by how much it should.

The rule was measured by `benchmarks/accusations.py` on 618 pairs of 60 models, 1,000 draws of every number of rounds
from 1 to 30, with the word weights of a young validator and of a grown one. Of 31 million histories with enough
evidence none is accused. The highest means in three sets of models and prompts are .65, .64 and .69: the threshold is
farther above the last than it is above the others. None of 618 pairs leaves room for .5 % of all pairs (95 %). Where
all answers are short, 2 of 4.9 million histories are accused; without `min_evidence_per_round`, 1,693. Part of the
copies accused by rounds, in the set where it is least:

    rounds                                5     7    10    20    30
    exact                               .48   .94  1.00  1.00  1.00
    a quarter of the words dropped      .32   .90  1.00  1.00  1.00
    the same in both, each on its own   .02   .36   .79  1.00  1.00
    synonyms                            .45   .94  1.00  1.00  1.00
    exact in half of the rounds         .00   .00   .00   .01   .03

Who copies in half of the rounds is mostly missed: a mean is the wrong measure of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.pairs import Pair, PairHistory
from loosh_pipeline.scoring.signals import Floats

METHOD = "lexical"
MAX_TEXT = 500
MAX_PAIRS = 200
"""Pairs given in one record, the most alike; the count says of how many. n copies of one source are n²/2 pairs."""
DESCRIBED_PAIRS = 10
DESCRIBED_GROUPS = 5


@dataclass(frozen=True, slots=True)
class AccusationRule:
    """When two identities are accused. Raises ValueError for a value out of range."""

    wording: float = 0.75
    """Shrunk mean wording likeness (`PairHistory.mean_wording`) from which a pair is accused …"""
    min_evidence: float = 5.0
    """… given as much evidence: rounds in which both answers were long enough to prove something …"""
    min_evidence_per_round: float = 0.5
    """… and as much of it a round: a thousand answers of a few words are alike, whoever gave them."""
    very_high_wording: float = 0.90
    """Only said in the report: from here on the words are the same but for details."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"accusation rule: {name} is {value}; give a finite number of at least 0")
        if not (self.wording <= self.very_high_wording and self.min_evidence_per_round <= 1):
            raise ValueError(
                f"accusation rule: wording ({self.wording}) must not be above very_high_wording "
                f"({self.very_high_wording}), nor min_evidence_per_round ({self.min_evidence_per_round}) above 1"
            )


DEFAULT_RULE = AccusationRule()


@dataclass(frozen=True, slots=True)
class Accusation:
    """Two identities, the smaller first, and what of their history accuses them. `mean_wording` is what counted."""

    first: Hotkey
    second: Hotkey
    rounds: int
    evidence: float
    wording: float
    mean_wording: float
    same_address: bool
    same_coldkey: bool

    @property
    def pair(self) -> Pair:
        return self.first, self.second


def is_accused(
    rounds: Floats, evidence: Floats, mean_wording: Floats, rule: AccusationRule = DEFAULT_RULE
) -> NDArray[np.bool_]:
    """Of pairs given as arrays of one shape, which are accused."""
    enough = (evidence >= rule.min_evidence) & (evidence >= rule.min_evidence_per_round * rounds)
    accused: NDArray[np.bool_] = enough & (mean_wording >= rule.wording)
    return accused


def accuse(pairs: Mapping[Pair, PairHistory], rule: AccusationRule = DEFAULT_RULE) -> tuple[Accusation, ...]:
    """The accused pairs among all that shared a round, sorted by hotkeys."""
    histories = [pairs[pair] for pair in sorted(pairs)]
    accused = is_accused(
        np.array([each.rounds for each in histories], dtype=float),
        np.array([each.evidence for each in histories], dtype=float),
        np.array([each.mean_wording for each in histories], dtype=float),
        rule,
    )
    return tuple(_accusation(pair, pairs[pair]) for pair, found in zip(sorted(pairs), accused, strict=True) if found)


def _accusation(pair: Pair, history: PairHistory) -> Accusation:
    return Accusation(
        first=pair[0],
        second=pair[1],
        rounds=history.rounds,
        evidence=history.evidence,
        wording=history.mean_wording if history.wording is None else history.wording,
        mean_wording=history.mean_wording,
        same_address=history.same_address,
        same_coldkey=history.same_coldkey,
    )


def accused_groups(accusations: Iterable[Accusation]) -> tuple[tuple[Hotkey, ...], ...]:
    """Identities joined by accusations, directly or through others; sorted, and sorted within."""
    group: dict[Hotkey, set[Hotkey]] = {}
    for each in accusations:
        joined = group.get(each.first, {each.first}) | group.get(each.second, {each.second})
        for hotkey in joined:
            group[hotkey] = joined
    return tuple(sorted({tuple(sorted(members)) for members in group.values()}))


def network_report(
    validator: Hotkey,
    accusations: Sequence[Accusation],
    pairs: Mapping[Pair, PairHistory],
    rule: AccusationRule = DEFAULT_RULE,
    texts: Mapping[Pair, tuple[str, str]] | None = None,
    challenge_id: ChallengeId | None = None,
) -> dict[str, Any] | None:
    """The accusations as one record of the network's analytics, ready for JSON; None when nobody is accused.

    `texts`: the two answers of an accused pair in the round in which they are most alike, in the order of the pair;
    cut to 500 characters, and empty where not given. Similarities are shrunk mean wording likenesses, like the
    thresholds; those of a group are over all its pairs that ever met, accused or not.
    """
    if not accusations:
        return None
    given = texts or {}
    ranked = sorted(accusations, key=lambda each: (-each.mean_wording, each.pair))
    groups = [_group(members, ranked, pairs, given) for members in accused_groups(ranked)]
    return {
        "validator_hotkey_ss58": str(validator),
        "challenge_id": None if challenge_id is None else str(challenge_id),
        "suspicious_pairs_count": len(ranked),
        "suspicious_groups_count": len(groups),
        "suspicious_pairs": [_pair(each, given) for each in ranked[:MAX_PAIRS]],
        "suspicious_groups": groups,
        "analysis_report": "\n".join(_described(ranked, groups, rule)),
        "high_similarity_threshold": float(rule.wording),
        "very_high_similarity_threshold": float(rule.very_high_wording),
    }


def _pair(each: Accusation, texts: Mapping[Pair, tuple[str, str]]) -> dict[str, Any]:
    first, second = texts.get(each.pair, ("", ""))
    return {
        "miner_hotkey_1": str(each.first),
        "miner_hotkey_2": str(each.second),
        "similarity_score": float(each.mean_wording),
        "response_text_1": _cut(first),
        "response_text_2": _cut(second),
        "detection_method": METHOD,
    }


def _group(
    members: Sequence[Hotkey],
    ranked: Sequence[Accusation],
    pairs: Mapping[Pair, PairHistory],
    texts: Mapping[Pair, tuple[str, str]],
) -> dict[str, Any]:
    within = [(first, second) for i, first in enumerate(members) for second in members[i + 1 :]]
    likeness = [pairs[pair].mean_wording for pair in within if pair in pairs]
    said = dict.fromkeys(members, "")
    for each in ranked:
        for hotkey, text in zip(each.pair, texts.get(each.pair, ("", "")), strict=True):
            if hotkey in said and not said[hotkey]:
                said[hotkey] = _cut(text)
    return {
        "miner_hotkeys": [str(hotkey) for hotkey in members],
        "avg_similarity": float(np.mean(likeness)),
        "min_similarity": float(min(likeness)),
        "max_similarity": float(max(likeness)),
        "min_internal_similarity": float(min(likeness)),
        "response_texts": {str(hotkey): text for hotkey, text in said.items()},
    }


def _cut(text: str) -> str:
    # a lone surrogate of an answer would make the whole record unsendable
    return text[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def _described(
    ranked: Sequence[Accusation], groups: Sequence[Mapping[str, Any]], rule: AccusationRule
) -> Iterable[str]:
    yield (
        f"{len(ranked)} pairs in {len(groups)} groups are worded alike: mean likeness over their rounds of at least "
        f"{rule.wording:.2f} after shrinking, with evidence of at least {rule.min_evidence:g} rounds. "
        "Who copies whom is not known, and who is copied is named too."
    )
    for each in ranked[:DESCRIBED_PAIRS]:
        yield _described_pair(each, rule)
    if len(ranked) > DESCRIBED_PAIRS:
        yield f"… and {len(ranked) - DESCRIBED_PAIRS} more pairs."
    for group in groups[:DESCRIBED_GROUPS]:
        likeness = f"mean {group['avg_similarity']:.3f}, least {group['min_similarity']:.3f}"
        yield f"Group of {len(group['miner_hotkeys'])}, {likeness}: {', '.join(group['miner_hotkeys'])}"
    if len(groups) > DESCRIBED_GROUPS:
        yield f"… and {len(groups) - DESCRIBED_GROUPS} more groups."


def _described_pair(each: Accusation, rule: AccusationRule) -> str:
    degree = "very high" if each.mean_wording >= rule.very_high_wording else "high"
    shared = [name for name, same in (("address", each.same_address), ("coldkey", each.same_coldkey)) if same]
    place = f", same {' and '.join(shared)}" if shared else ""
    return (
        f"{each.first} and {each.second}: {each.mean_wording:.3f} ({degree}), unshrunk {each.wording:.3f}, "
        f"over {each.rounds} rounds with evidence of {each.evidence:.1f}{place}"
    )

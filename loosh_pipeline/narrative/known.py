"""Every number that a text about a round may name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from loosh_pipeline.narrative.facts import MinerFacts, RoundFacts

AVERAGE = 1.0
"""The payout of an average independent answer, of which the instructions speak."""
_EXACTLY = 1e-9


@dataclass(frozen=True, slots=True)
class Known:
    """`counts` of miners, answers and groups; `of_round`: what is measured of it; `of_miner`: by uid."""

    uids: frozenset[int]
    counts: frozenset[int]
    of_round: tuple[float, ...]
    of_miner: Mapping[int, tuple[float, ...]]

    @classmethod
    def of(cls, facts: RoundFacts) -> Known:
        told = [*([facts.best] if facts.best else []), *facts.unpaid]
        of_miner = {miner.uid: tuple(_figures(miner)) for miner in told}
        named = {*of_miner, *(uid for uid, _ in facts.removed), *(uid for group in facts.copies for uid in group)}
        return cls(frozenset(named), frozenset(_counts(facts)), tuple(_of_round(facts)), of_miner)

    def has(self, number: str, uids: Iterable[int]) -> bool:
        """Whether a number as it is written may be told of these miners; without any, of whichever."""
        percent, digits = number.endswith("%"), number.rstrip(" %")
        if digits.count(".") > 1:
            return False
        value, places = float(digits.replace("−", "-")), len(digits.partition(".")[2])
        if not percent and not places and value in self.counts | self.uids:
            return True
        miners = set(uids) or set(self.of_miner)
        figures = (*self.of_round, *(figure for uid in miners for figure in self.of_miner.get(uid, ())))
        if percent:
            return any(_rounds_to(100 * figure, value, places) for figure in figures)
        return any(_rounds_to(figure, value, places) if places else figure == value for figure in figures)


def _rounds_to(figure: float, value: float, places: int) -> bool:
    return abs(figure - value) <= 0.5 * 10.0**-places + _EXACTLY


def _figures(miner: MinerFacts) -> Iterator[float]:
    figures = (miner.payout, miner.relevance, miner.meaning, miner.coverage, miner.wording, miner.share)
    yield from (figure for figure in figures if figure is not None)


def _of_round(facts: RoundFacts) -> Iterator[float]:
    yield AVERAGE
    if facts.relevance_gate is not None:
        yield facts.relevance_gate
    if (found := facts.consensus) is not None:
        yield from (found.consensus_score, found.consensus_mean, found.consensus_spread)


def _counts(facts: RoundFacts) -> Iterator[int]:
    yield from (facts.asked, facts.answered, facts.paid, facts.asked - facts.answered)
    yield from (len(facts.unpaid), len(facts.removed), len(facts.copies), *map(len, facts.copies))
    yield from Counter(miner.reason for miner in facts.unpaid).values()
    yield from Counter(why for _, why in facts.removed).values()

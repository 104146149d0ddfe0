"""What is known of a round: every miner, figure and count that a text about it may name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from loosh_pipeline.domain import Outcome
from loosh_pipeline.narrative.facts import MinerFacts, RoundFacts

SILENT = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.ANSWERED)


@dataclass(frozen=True, slots=True)
class Known:
    """`of_miner`, `of_round`: figures by what they measure; `counts`: of miners, answers or groups, by what they
    have in common; `reasons`: why a miner was not paid or was left out."""

    facts: RoundFacts
    uids: frozenset[int]
    unpaid: frozenset[int]
    removed: frozenset[int]
    silent: frozenset[int]
    reasons: Mapping[int, frozenset[str]]
    of_miner: Mapping[int, Mapping[str, float | None]]
    of_round: Mapping[str, float | None]
    counts: Mapping[str, frozenset[int]]

    @classmethod
    def of(cls, facts: RoundFacts) -> Known:
        told = [*([facts.best] if facts.best else []), *facts.unpaid]
        removed = frozenset(uid for uid, _ in facts.removed)
        why = [*((miner.uid, miner.reason) for miner in facts.unpaid), *facts.removed]
        uids = {*(miner.uid for miner in told), *removed, *(uid for group in facts.copies for uid in group)}
        return cls(
            facts=facts,
            uids=frozenset(uids),
            unpaid=frozenset(miner.uid for miner in facts.unpaid),
            removed=removed,
            silent=frozenset(miner.uid for miner in facts.unpaid if miner.reason in SILENT),
            reasons={uid: frozenset(reason for known, reason in why if known == uid) for uid in uids},
            of_miner={miner.uid: _figures(miner) for miner in told},
            of_round=_of_round(facts),
            counts=_counts(facts),
        )

    def are_copies(self, uids: set[int]) -> bool:
        """Whether all of them belong to one group of copies."""
        return any(uids <= set(group) for group in self.facts.copies)


def _figures(miner: MinerFacts) -> dict[str, float | None]:
    named = ("payout", "relevance", "meaning", "coverage", "wording")
    return {name: getattr(miner, name) for name in named}


def _of_round(facts: RoundFacts) -> dict[str, float | None]:
    found = facts.consensus
    return {
        "gate": facts.relevance_gate,
        "consensus": found.consensus_score if found else None,
        "mean": found.consensus_mean if found else None,
        "spread": found.consensus_spread if found else None,
    }


def _counts(facts: RoundFacts) -> dict[str, frozenset[int]]:
    sizes = [len(group) for group in facts.copies]
    reasons = Counter(miner.reason for miner in facts.unpaid)
    removals = Counter(why for _, why in facts.removed)
    return {
        "asked": frozenset({facts.asked}),
        "answered": frozenset({facts.answered}),
        "silent": frozenset({facts.asked - facts.answered}),
        "paid": frozenset({facts.paid}),
        "unpaid": frozenset({len(facts.unpaid)}),
        "removed": frozenset({len(facts.removed)}),
        "groups": frozenset({len(sizes)}),
        "copies": frozenset({sum(sizes)}),
        **{why: frozenset({reasons[why], removals[why]} - {0}) for why in {*reasons, *removals}},
    }

"""What happened in a round, in words, composed from the figures alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loosh_pipeline.domain import Challenge, Response
from loosh_pipeline.narrative.facts import MinerFacts, RoundFacts, facts_of
from loosh_pipeline.scoring.admission import OFF_TOPIC
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.result import RoundScores

NAMED = 6
"""Miners named in one list; the others are counted."""


def compose_narrative(challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> str:
    """At most about 200 words of Markdown, from the figures alone."""
    return composed(facts_of(challenge, scores, responses))


def composed(facts: RoundFacts) -> str:
    """The same of figures that were taken already."""
    paragraphs = (_turnout(facts), _agreement(facts), _best(facts), _copies(facts), _unpaid(facts))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _turnout(facts: RoundFacts) -> str:
    return f"{facts.asked} miners asked, {facts.answered} answered, {facts.paid} paid."


def _agreement(facts: RoundFacts) -> str:
    found = facts.consensus
    if found is None or not facts.answered:
        return "There is no consensus to measure."
    reached = "reached" if found.consensus_reached else "not reached"
    said = (
        f"By the network's measure consensus is {reached}: **{found.consensus_score:.2f}** = mean cosine "
        f"{found.consensus_mean:.2f} + spread {found.consensus_spread:.2f}."
    )
    if not facts.removed:
        return said
    named = _listed([f"uid {uid} ({why.replace('_', ' ')})" for uid, why in facts.removed])
    return f"{said} It leaves out {named}."


def _best(facts: RoundFacts) -> str:
    best = facts.best
    if best is None:
        return "Nobody was paid."
    if facts.profile == NetworkProfile.name:
        return f"Best paid: **uid {best.uid}** with an emission of {best.payout:.2f}."
    if best.meaning is None or best.coverage is None or best.wording is None:
        return f"Best paid: **uid {best.uid}** with {best.payout:.2f}, without an independent peer to compare with."
    return (
        f"Best paid: **uid {best.uid}** with {best.payout:.2f} (1 is average). Against its independent peers it "
        f"reached {best.meaning:.2f} in meaning, {best.coverage:.2f} in coverage and {best.wording:.2f} in wording, at "
        f"a relevance of {best.relevance or 0:.2f}."
    )


def _copies(facts: RoundFacts) -> str:
    if not facts.copies:
        return ""
    groups = "; ".join(_listed([str(uid) for uid in group]) for group in facts.copies[:NAMED])
    return f"Near-copies, with one vote a group: uids {groups}."


def _unpaid(facts: RoundFacts) -> str:
    if not facts.unpaid:
        return "Everyone asked was paid."
    named = _listed([f"uid {miner.uid} ({_why(miner, facts)})" for miner in facts.unpaid])
    counts = Counter(miner.reason for miner in facts.unpaid)
    total = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(counts.items()))
    return f"Not paid: {named}." + (f" In all: {total}." if len(facts.unpaid) > NAMED else "")


def _why(miner: MinerFacts, facts: RoundFacts) -> str:
    words = miner.reason.replace("_", " ")
    if miner.reason == OFF_TOPIC and miner.relevance is not None and facts.relevance_gate is not None:
        return f"{words}: relevance {miner.relevance:.2f}, the gate is {facts.relevance_gate:.2f}"
    return words


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

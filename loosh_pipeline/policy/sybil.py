"""What suspected sybils lose. A suspicion of the Challenge API comes without a reason, so it takes one of our own."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from loosh_pipeline.domain import Hotkey, Metagraph, OneSource, RuleAct
from loosh_pipeline.policy.entities import marks_of
from loosh_pipeline.policy.ruled import Ruled, Shares, without
from loosh_pipeline.scoring.network.profile import NetworkPay

SYBIL = "sybil_penalty"
THRESHOLD = NetworkPay().penalty_threshold
ONE_SOURCE = 0.5
"""Degree from which two identities count as one source."""


def one_source(sources: Iterable[OneSource]) -> dict[Hotkey, OneSource]:
    """Who is taken for one source with another, and the pair that says so most."""
    found: dict[Hotkey, OneSource] = {}
    for pair in sorted(sources, key=lambda pair: (-pair.degree, pair.first, pair.second)):
        if pair.degree >= ONE_SOURCE:
            found.setdefault(pair.first, pair)
            found.setdefault(pair.second, pair)
    return found


def evidence_against(
    asked: Collection[Hotkey], sources: Iterable[OneSource], subnet: Metagraph, proved: Mapping[Hotkey, str]
) -> dict[Hotkey, str]:
    """What our own records say against hotkeys of the lookback: answers of one source, a shared coldkey or address.

    `proved`: addresses that count, see `Inputs.proved`.
    """
    evidence = {hotkey: _worded(hotkey, pair) for hotkey, pair in one_source(sources).items()}
    holders: dict[str, list[Hotkey]] = {}
    for neuron in sorted(subnet.neurons, key=lambda neuron: neuron.hotkey):
        if neuron.hotkey in asked:
            for mark in marks_of(neuron, proved):
                holders.setdefault(mark, []).append(neuron.hotkey)
    for mark, hotkeys in sorted(holders.items()):
        for hotkey in hotkeys:
            others = [other for other in hotkeys if other != hotkey]
            if others:
                evidence.setdefault(hotkey, f"it shares {mark} with {others[0]}")
    return evidence


def _worded(hotkey: Hotkey, pair: OneSource) -> str:
    other = pair.second if hotkey == pair.first else pair.first
    return f"its answers and those of {other} are of one source to {pair.degree:.0%}, over {pair.rounds} rounds"


def sybil_penalty(
    shares: Shares,
    scores: Mapping[Hotkey, float],
    evidence: Mapping[Hotkey, str],
    serving: int,
    *,
    needs_evidence: bool = True,
    most: float = 0.33,
) -> Ruled:
    """Take from each suspected miner the part that its score says, from the worst ones first.

    Spared, on record: those against whom nothing of our own speaks, and whoever is beyond max(1, ⌊most · serving⌋);
    everybody where `most` is 0.
    """
    accused = [hotkey for hotkey in shares if shares[hotkey] > 0 and scores.get(hotkey, 0.0) >= THRESHOLD]
    accused.sort(key=lambda hotkey: (-scores[hotkey], hotkey))
    limit = max(1, math.floor(most * serving)) if most > 0 else 0
    after, acts, struck = dict(shares), [], 0
    for hotkey in accused:
        said = f"the Challenge API's sybil score is {scores[hotkey]:.2f}"
        if hotkey not in evidence and needs_evidence:
            reason = f"spared: {said}, and nothing of our own speaks against it"
        elif struck == limit:
            reason = f"spared: {said}, and {limit} of {serving} serving miners are penalised already"
        else:
            struck += 1
            after[hotkey] = shares[hotkey] * (1 - min(scores[hotkey], 1.0))
            reason = f"{said}; {evidence.get(hotkey, 'evidence of our own is not asked for')}"
        acts.append(RuleAct(SYBIL, hotkey, shares[hotkey], after[hotkey], reason))
    return Ruled(after, tuple(acts))


def suspected(scores: Mapping[Hotkey, float]) -> set[Hotkey]:
    """Whom the Challenge API's word alone, however old, keeps from what was not earned."""
    return {hotkey for hotkey, score in scores.items() if score >= THRESHOLD}


def unsuspected(shares: Shares, scores: Mapping[Hotkey, float]) -> Ruled:
    """Without the suspected: what is paid for want of anything better is never paid to them."""
    said = "its sybil score is {:.2f}, and nothing that it earned is paid here"
    return without(shares, SYBIL, {h: said.format(scores[h]) for h in suspected(scores) & shares.keys()})


def penalised(acts: Iterable[RuleAct]) -> set[Hotkey]:
    """Who lost anything for being suspected; who was spared did not."""
    return {act.hotkey for act in acts if act.rule == SYBIL and act.after < act.before}

"""From what was earned to what is proposed."""

from __future__ import annotations

from functools import partial

from loosh_pipeline.domain import Hotkey, Mode, Proposal, RuleAct
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.policy.bases import EARNED, Basis, Start, starts, unsound
from loosh_pipeline.policy.burn import burn
from loosh_pipeline.policy.caps import entity_cap, max_share
from loosh_pipeline.policy.entities import entities_of
from loosh_pipeline.policy.filters import (
    VIEW_LASTS,
    enough_evidence,
    listed_validators,
    no_validators,
    not_own,
    registered,
    serving,
    serving_miners,
)
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.minimum import padded, required
from loosh_pipeline.policy.modes import min_evidence_rounds, mode_of, pads
from loosh_pipeline.policy.network import network_rules
from loosh_pipeline.policy.ruled import Rule, Ruled, Shares, chained, normalised
from loosh_pipeline.policy.sybil import evidence_against, sybil_penalty, unaccused
from loosh_pipeline.scoring.network.profile import NetworkProfile


def propose(inputs: Inputs) -> Proposal:
    """What each registered miner that was considered is to have of all pay, and every act of a rule on the way.

    All 0 when nobody is to have anything: that is never set, and the chain keeps what it has. Raises ScoringError for
    an emission that is no number from 0 on.
    """
    if wrong := unsound(inputs.earned.emissions):
        raise ScoringError(f"no shares can be made of the emissions {', '.join(wrong[:5])}; see settled_scores")
    policy, subnet = inputs.policy, inputs.subnet
    mode = mode_of(subnet, inputs.own, policy.degraded_at, policy.emergency_at)
    basis, shares, acts = Basis.NOTHING, dict[Hotkey, float](), list[RuleAct]()
    considered = {each.hotkey for each in inputs.earned.emissions}
    for start in starts(inputs, mode):
        considered |= start.shares.keys()
        ruled = _ruled(start, inputs, mode)
        acts += ruled.acts
        if any(ruled.shares.values()):
            basis, shares = start.basis, dict(ruled.shares)
            break
    there = subnet.by_hotkey().keys()
    return Proposal(
        made_at=inputs.at,
        block=subnet.block,
        mode=mode,
        profile=inputs.profile,
        basis=basis.value,
        rounds=inputs.earned.rounds if basis in EARNED else 0,
        shares={hotkey: shares.get(hotkey, 0.0) for hotkey in sorted((considered & there) | shares.keys())},
        acts=tuple(acts),
        overrides=inputs.waived,
    )


def _ruled(start: Start, inputs: Inputs, mode: Mode) -> Ruled:
    """All rules, in order. Sorted first, so that the order in which shares are given changes no bit."""
    shares = normalised({hotkey: start.shares[hotkey] for hotkey in sorted(start.shares)})
    network = inputs.profile == NetworkProfile.name
    if network and start.basis in EARNED:
        who = network_rules(inputs)
    else:
        who = [*_filters(inputs, mode, start.basis), _sybils(inputs, start.basis)]
    cap = 1.0 if network else inputs.policy.entity_cap  # its method knows no entities
    return chained(shares, [*who, *_limits(inputs, mode, start.basis, cap)])


def _filters(inputs: Inputs, mode: Mode, basis: Basis) -> list[Rule]:
    listed = listed_validators(inputs.view, inputs.at)
    rules: list[Rule] = [
        partial(registered, subnet=inputs.subnet),
        partial(not_own, own=inputs.own),
        partial(no_validators, subnet=inputs.subnet, listed=listed),
        partial(serving, subnet=inputs.subnet),
    ]
    if basis in EARNED:
        rounds = min_evidence_rounds(mode, inputs.policy.min_evidence_rounds)
        rules.append(partial(enough_evidence, earned=inputs.earned.by_hotkey(), rounds=rounds))
    return rules


def _sybils(inputs: Inputs, basis: Basis) -> Rule:
    """A part of their pay, or all of it where nothing was earned."""
    policy, scores, evidence = inputs.policy, _scores(inputs), _evidence(inputs, basis)
    if basis not in EARNED:
        return partial(unaccused, scores=scores, evidence=evidence, needs_evidence=policy.sybil_evidence)

    def penalty(shares: Shares) -> Ruled:
        return sybil_penalty(
            normalised(shares),
            scores,
            evidence,
            len(serving_miners_of(inputs)),
            needs_evidence=policy.sybil_evidence,
            most=policy.max_penalised_share,
        )

    return penalty


def _joined(shares: Shares, inputs: Inputs) -> dict[Hotkey, Hotkey]:
    """The entities of hotkeys that earn: it costs nobody anything to announce the address of another."""
    return entities_of(each for each in inputs.subnet.neurons if shares.get(each.hotkey, 0.0) > 0)


def _limits(inputs: Inputs, mode: Mode, basis: Basis, cap: float) -> list[Rule]:
    """How much whom, once it is clear who is paid."""
    policy, subnet = inputs.policy, inputs.subnet
    most = min(policy.max_share, subnet.max_weight_share)

    def of_entities(shares: Shares) -> Ruled:
        return entity_cap(shares, _joined(shares, inputs), cap)

    def of_miners(shares: Shares) -> Ruled:
        return max_share(shares, _joined(shares, inputs), cap, most)

    rules: list[Rule] = [of_entities, of_miners]
    if policy.burn_hotkey is not None:
        rules.append(partial(burn, hotkey=policy.burn_hotkey, part=policy.burn_share, subnet=subnet, own=inputs.own))
    if pads(mode):
        rules.append(partial(padded, candidates=_candidates(inputs, basis), wanted=required(subnet)))
    return rules


def _candidates(inputs: Inputs, basis: Basis) -> list[Hotkey]:
    """Who may be given the smallest weight: serving miners that answered and are not suspected, the best first."""
    earned = inputs.earned.by_hotkey()
    answered, there = {h for h, each in earned.items() if each.answered}, serving_miners_of(inputs)
    answered |= set() if basis in EARNED else inputs.known
    rank = {h: (-earned[h].emission, -earned[h].mean_payout) if h in earned else (0.0, 0.0) for h in answered}
    found = {h: 1.0 for h in sorted(answered & there, key=lambda h: (rank[h], h))}
    scores, evidence = _scores(inputs), _evidence(inputs, basis)
    return list(unaccused(found, scores, evidence, needs_evidence=inputs.policy.sybil_evidence).shares)


def serving_miners_of(inputs: Inputs) -> set[Hotkey]:
    """Whom rules leave, whatever they earned: registered, serving, neither this validator nor another."""
    listed = listed_validators(inputs.view, inputs.at)
    return {each.hotkey for each in serving_miners(inputs.subnet, inputs.own, listed)}


def _scores(inputs: Inputs) -> dict[Hotkey, float]:
    """The Challenge API's sybil scores, as long as they are believed."""
    view = inputs.view
    return {} if view is None or inputs.at - view.taken_at > VIEW_LASTS else dict(view.sybil_scores)


def _evidence(inputs: Inputs, basis: Basis) -> dict[Hotkey, str]:
    asked = {each.hotkey for each in inputs.earned.emissions}
    if basis not in EARNED:  # nobody may have been asked lately
        asked |= inputs.known | (set() if inputs.last is None else inputs.last.shares.keys())
    return evidence_against(asked, inputs.earned.sources, inputs.subnet)

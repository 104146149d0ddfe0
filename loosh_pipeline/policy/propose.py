"""From what was earned to what is proposed."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from loosh_pipeline.domain import Hotkey, Mode, Proposal, RuleAct
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.policy.bases import Start, starts, unsound
from loosh_pipeline.policy.basis import EARNED, Basis
from loosh_pipeline.policy.burn import BURN, burn, why_not_burnt
from loosh_pipeline.policy.caps import ENTITY, MAXIMUM, entity_cap, max_share
from loosh_pipeline.policy.entities import entities_of
from loosh_pipeline.policy.filters import (
    EVIDENCE,
    OWN,
    REGISTERED,
    SERVING,
    VALIDATORS,
    VIEW_LASTS,
    enough_evidence,
    listed_validators,
    no_validators,
    not_own,
    registered,
    serving,
)
from loosh_pipeline.policy.handover import ANSWERING, PRESENT, answering, present
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.miners import miners_of, payable
from loosh_pipeline.policy.minimum import PADDING, padded, required, to_share
from loosh_pipeline.policy.modes import min_evidence_rounds
from loosh_pipeline.policy.network import network_rules
from loosh_pipeline.policy.ruled import SHARED, Named, Rule, Ruled, Shares, Step, chained, normalised
from loosh_pipeline.policy.sybil import SYBIL, evidence_against, sybil_penalty, unsuspected
from loosh_pipeline.scoring.network.profile import NetworkProfile

NEEDED = frozenset({REGISTERED, SHARED})
"""Rules that none goes without: what is no slot of the subnet cannot be given a weight, and shares are of one whole."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A proposal, and what each rule made of the shares that it started from, in order."""

    proposal: Proposal
    steps: tuple[Step, ...]


def propose(inputs: Inputs, without: Collection[str] = ()) -> Proposal:
    """What each registered miner that was considered is to have of all pay, and every act of a rule on the way.

    All 0 when nobody is to have anything: that is never set, and the chain keeps what it has. `without`: rules that are
    left out, to see what they do; what they are is in `rules_of`. Raises ScoringError for an emission that is no number
    from 0 on, ValueError for a rule of `NEEDED`.
    """
    return traced(inputs, without).proposal


def traced(inputs: Inputs, without: Collection[str] = ()) -> Traced:
    """The same, with the steps that led to it. Raises like `propose`."""
    if wrong := unsound(inputs.earned.emissions):
        raise ScoringError(f"no shares can be made of the emissions {', '.join(wrong[:5])}; see settled_scores")
    if needed := sorted(NEEDED & set(without)):
        raise ValueError(f"no proposal goes without {', '.join(needed)}")
    subnet = inputs.subnet
    mode = inputs.mode
    basis, rounds, shares, acts = Basis.NOTHING, 0, dict[Hotkey, float](), list[RuleAct]()
    steps: tuple[Step, ...] = ()
    considered = {each.hotkey for each in inputs.earned.emissions}
    for start in starts(inputs, mode):
        considered |= start.shares.keys()
        steps = _steps(start, inputs, mode, without)
        acts += [*start.acts, *(act for step in steps for act in step.acts)]
        if any(steps[-1].after.values()):
            basis, rounds, shares = start.basis, start.rounds, dict(steps[-1].after)
            break
    there = subnet.by_hotkey().keys()
    proposal = Proposal(
        made_at=inputs.at,
        block=subnet.block,
        mode=mode,
        profile=inputs.profile,
        basis=basis.value,
        rounds=rounds,
        shares={hotkey: shares.get(hotkey, 0.0) for hotkey in sorted((considered & there) | shares.keys())},
        acts=tuple(acts),
        overrides=inputs.waived,
    )
    return Traced(proposal, steps)


def _steps(start: Start, inputs: Inputs, mode: Mode, without: Collection[str]) -> tuple[Step, ...]:
    """All rules, in order. Sorted first, so that the order in which shares are given changes no bit."""
    shares = normalised({hotkey: start.shares[hotkey] for hotkey in sorted(start.shares)})
    rules = rules_of(start, inputs, mode)
    return chained(shares, [(name, rule) for name, rule in rules if name not in without])


def rules_of(start: Start, inputs: Inputs, mode: Mode) -> list[Named]:
    """Which rules there are for what shares are made of, in order."""
    network = inputs.profile == NetworkProfile.name
    if start.basis is Basis.IMPORTED:
        who = [*_still_there(inputs), *network_rules(inputs)]
    elif network and start.basis in EARNED:
        who = network_rules(inputs)
    else:
        who = [*_filters(inputs, mode, start.basis), (SYBIL, _sybils(inputs, start.basis))]
    cap = 1.0 if network else inputs.policy.entity_cap  # its method knows no entities
    return [*who, *_limits(inputs, mode, cap)]


def _still_there(inputs: Inputs) -> list[Named]:
    least = max(1, inputs.policy.min_evidence_rounds)
    return [
        (PRESENT, partial(present, presence=inputs.presence)),
        (ANSWERING, partial(answering, earned=inputs.earned.by_hotkey(), least=least)),
    ]


def _filters(inputs: Inputs, mode: Mode, basis: Basis) -> list[Named]:
    listed = listed_validators(inputs.view, inputs.at)
    rules: list[Named] = [
        (REGISTERED, partial(registered, subnet=inputs.subnet)),
        (OWN, partial(not_own, own=inputs.own)),
        (VALIDATORS, partial(no_validators, subnet=inputs.subnet, listed=listed)),
        (SERVING, partial(serving, subnet=inputs.subnet)),
    ]
    if basis in EARNED:
        asked = [each.asked for each in inputs.earned.emissions]
        rounds = min_evidence_rounds(mode, inputs.policy.min_evidence_rounds, asked)
        rules.append((EVIDENCE, partial(enough_evidence, earned=inputs.earned.by_hotkey(), rounds=rounds)))
    return rules


def _sybils(inputs: Inputs, basis: Basis) -> Rule:
    """A part of their pay, or all of it where nothing was earned."""
    if basis not in EARNED:
        return partial(unsuspected, scores={} if inputs.view is None else inputs.view.sybil_scores)
    policy, scores = inputs.policy, _believed_scores(inputs)
    asked = {each.hotkey for each in inputs.earned.emissions}
    evidence = evidence_against(asked, inputs.earned.sources, inputs.subnet, inputs.proved)

    def penalty(shares: Shares) -> Ruled:
        return sybil_penalty(
            normalised(shares),
            scores,
            evidence,
            len(miners_of(inputs)),
            needs_evidence=policy.sybil_evidence,
            most=policy.max_penalised_share,
        )

    return penalty


def _joined(shares: Shares, inputs: Inputs) -> dict[Hotkey, Hotkey]:
    """The entities of hotkeys that earn."""
    earning = (each for each in inputs.subnet.neurons if shares.get(each.hotkey, 0.0) > 0)
    return entities_of(earning, inputs.proved)


def _limits(inputs: Inputs, mode: Mode, cap: float) -> list[Named]:
    """How much whom, once it is clear who is paid."""
    policy, subnet = inputs.policy, inputs.subnet
    most = min(policy.max_share, subnet.max_weight_share)

    def of_entities(shares: Shares) -> Ruled:
        return entity_cap(shares, _joined(shares, inputs), cap)

    def of_miners(shares: Shares) -> Ruled:
        return max_share(shares, _joined(shares, inputs), cap, most)

    candidates = _candidates(inputs)
    rules: list[Named] = [(ENTITY, of_entities), *_spread(inputs, mode, candidates), (MAXIMUM, of_miners)]
    if policy.burn_hotkey is not None:
        limit = subnet.max_weight_share if mode is Mode.EMERGENCY else 1.0
        burnt = partial(burn, hotkey=policy.burn_hotkey, part=policy.burn_share, most=limit)
        rules.append((BURN, partial(burnt, subnet=subnet, own=inputs.own)))
    return [*rules, (PADDING, partial(padded, candidates=candidates, wanted=required(subnet)))]


def _spread(inputs: Inputs, mode: Mode, candidates: Sequence[Hotkey]) -> list[Named]:
    """In an emergency, miners enough to share what is not burnt under the chain's limit; `max_share` then does it."""
    policy, limit = inputs.policy, inputs.subnet.max_weight_share
    if mode is not Mode.EMERGENCY or limit <= 0:
        return []
    burnt = 0.0
    if policy.burn_hotkey is not None and not why_not_burnt(policy.burn_hotkey, inputs.subnet, inputs.own):
        burnt = min(policy.burn_share, limit)
    why = f"the chain lets one have {limit:.1%} at most, so that it takes {{}}"
    return [(PADDING, partial(padded, candidates=candidates, wanted=to_share(limit, 1 - burnt), why=why))]


def _candidates(inputs: Inputs) -> list[Hotkey]:
    """Who may be given the smallest weight: serving miners that ever answered and are not suspected.

    Those who answered in the lookback come first, the best before the others.
    """
    earned = {hotkey: each for hotkey, each in inputs.earned.by_hotkey().items() if each.answered}
    last = (math.inf, math.inf)
    rank = {
        h: (-earned[h].emission, -earned[h].mean_payout) if h in earned else last for h in inputs.known | earned.keys()
    }
    return sorted(rank.keys() & payable(inputs), key=lambda h: (rank[h], h))


def _believed_scores(inputs: Inputs) -> dict[Hotkey, float]:
    """The Challenge API's sybil scores, as long as they are believed."""
    view = inputs.view
    return {} if view is None or inputs.at - view.taken_at > VIEW_LASTS else dict(view.sybil_scores)

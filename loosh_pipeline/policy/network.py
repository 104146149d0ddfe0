"""Who is paid, and how much of it, when the network's own profile pays: as its existing validator has it.

Its method knows no evidence, no entities and no caps. Its rule that stake tells validators where the list of them was
never had holds here also for an empty list and for one of more than a day ago, which switch it off there. When nobody
has anything, nothing is proposed: the emergency is `bases`.
"""

from __future__ import annotations

from loosh_pipeline.domain import Mode, Neuron, RuleAct
from loosh_pipeline.policy.filters import OWN, SERVING, VALIDATORS, listed_validators, registered
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.ruled import SHARED, Named, Ruled, Shares
from loosh_pipeline.policy.sybil import SYBIL
from loosh_pipeline.scoring.network.pay import Candidate, Serving, penalise, serving_miners, shares
from loosh_pipeline.scoring.network.profile import NetworkPay

EXCLUDED = {
    "own": (OWN, "a validator gives itself nothing"),
    "no_endpoint": (SERVING, "it serves at no address"),
    "validator": (VALIDATORS, "the Challenge API lists it as a validator"),
    "stake": (VALIDATORS, "its stake is that of a validator, and the Challenge API has told no list in the last day"),
}


def network_rules(inputs: Inputs, pay: NetworkPay | None = None) -> list[Named]:
    """The penalty of sybils, for which those count too who do not serve; serving miners; shares of what is left."""
    pay = pay or NetworkPay()
    candidates = [_candidate(neuron) for neuron in inputs.subnet.neurons]
    found = serving_miners(candidates, inputs.own, listed_validators(inputs.view, inputs.at), pay)
    scores = {} if inputs.view is None else inputs.view.sybil_scores

    def left(before: Shares) -> Ruled:
        return _left(before, found, inputs)

    def penalty(before: Shares) -> Ruled:
        return _penalty(before, scores, len(found.hotkeys), pay)

    def shared(before: Shares) -> Ruled:
        return Ruled(shares(found.hotkeys, before, Mode.NORMAL, pay) or {})

    return [(SYBIL, penalty), (SERVING, left), (SHARED, shared)]


def _candidate(neuron: Neuron) -> Candidate:
    return Candidate(neuron.hotkey, neuron.ip or "", neuron.port, neuron.stake)


def _left(before: Shares, found: Serving, inputs: Inputs) -> Ruled:
    there = registered(before, inputs.subnet)
    excluded = {hotkey: EXCLUDED[why] for hotkey, why in found.excluded.items() if hotkey in there.shares}
    acts = [
        RuleAct(rule, hotkey, before[hotkey], 0.0, why)
        for hotkey, (rule, why) in sorted(excluded.items())
        if before[hotkey]
    ]
    left = {hotkey: share for hotkey, share in there.shares.items() if hotkey not in excluded}
    return Ruled(left, (*there.acts, *acts))


def _penalty(before: Shares, scores: Shares, serving: int, pay: NetworkPay) -> Ruled:
    after = penalise(before, scores, serving, pay)
    acts = [
        RuleAct(
            SYBIL, hotkey, before[hotkey], after.averages[hotkey], f"the Challenge API's sybil score is {score:.2f}"
        )
        for hotkey, score in sorted(after.penalised.items())
    ]
    acts += [
        RuleAct(
            SYBIL,
            hotkey,
            before[hotkey],
            before[hotkey],
            f"spared: its sybil score of {scores[hotkey]:.2f} is not among the worst of {serving} serving miners",
        )
        for hotkey in sorted(after.spared)
    ]
    return Ruled(after.averages, tuple(acts))

"""Who may be paid at all."""

from __future__ import annotations

from datetime import datetime, timedelta

from loosh_pipeline.domain import Emission, Hotkey, Metagraph, NetworkView, Neuron
from loosh_pipeline.policy.ruled import Ruled, Shares, without
from loosh_pipeline.scoring.network.profile import NetworkPay

REGISTERED, OWN, VALIDATORS, SERVING, EVIDENCE = "registered", "own_hotkey", "validators", "serving", "min_evidence"
FILTERS = frozenset({REGISTERED, OWN, VALIDATORS, SERVING, EVIDENCE})
VIEW_LASTS = timedelta(days=1)
"""Age from which what the Challenge API said of hotkeys is not believed any more."""
VALIDATOR_STAKE = NetworkPay().max_stake


def registered(shares: Shares, subnet: Metagraph) -> Ruled:
    """Who left the subnet is out: its slot may be somebody else's."""
    there = subnet.by_hotkey()
    gone = {hotkey: f"not registered on subnet {subnet.netuid} at block {subnet.block}" for hotkey in shares}
    return without(shares, REGISTERED, {hotkey: why for hotkey, why in gone.items() if hotkey not in there})


def not_own(shares: Shares, own: Hotkey) -> Ruled:
    """A validator gives itself nothing."""
    return without(shares, OWN, {own: "a validator gives itself nothing"} if own in shares else {})


def listed_validators(view: NetworkView | None, at: datetime) -> frozenset[Hotkey] | None:
    """The Challenge API's list of validators; None when it never told one, or not in the last day.

    An empty list is none: the API was never without validators, so it means that it knew nothing.
    """
    if view is None or not view.validators or at - view.taken_at > VIEW_LASTS:
        return None
    return view.validators


def why_validator(neuron: Neuron, listed: frozenset[Hotkey] | None) -> str:
    """Why a neuron passes for a validator; empty when it does not."""
    if listed is not None:
        return "the Challenge API lists it as a validator" if neuron.hotkey in listed else ""
    if neuron.validator_permit and neuron.stake >= VALIDATOR_STAKE:
        return (
            f"it has a validator permit and a stake of {neuron.stake:g}, {VALIDATOR_STAKE:g} or more, and the "
            "Challenge API has told no list of validators in the last day"
        )
    return ""


def serving_miners(subnet: Metagraph, own: Hotkey, listed: frozenset[Hotkey] | None) -> list[Neuron]:
    """Who may be asked and paid: whoever serves an address, but for this validator and others."""
    return [each for each in subnet.neurons if each.serves and each.hotkey != own and not why_validator(each, listed)]


def no_validators(shares: Shares, subnet: Metagraph, listed: frozenset[Hotkey] | None) -> Ruled:
    """Validators judge; they are not paid for answers."""
    there = subnet.by_hotkey()
    reasons = {hotkey: why_validator(there[hotkey], listed) for hotkey in shares}
    return without(shares, VALIDATORS, {hotkey: why for hotkey, why in reasons.items() if why})


def serving(shares: Shares, subnet: Metagraph) -> Ruled:
    """Who has no address cannot be asked any more."""
    there = subnet.by_hotkey()
    reason = f"serves at no address at block {subnet.block}"
    return without(shares, SERVING, {hotkey: reason for hotkey in shares if not there[hotkey].serves})


def enough_evidence(shares: Shares, earned: dict[Hotkey, Emission], rounds: int) -> Ruled:
    """Who was asked too seldom could have been lucky."""
    asked = {hotkey: earned[hotkey].asked if hotkey in earned else 0 for hotkey in shares}
    reasons = {hotkey: f"asked {n} times in the lookback; it takes {rounds}" for hotkey, n in asked.items()}
    return without(shares, EVIDENCE, {hotkey: why for hotkey, why in reasons.items() if asked[hotkey] < rounds})

"""A proposal's inputs by a few words: miners of a subnet, what they earned, what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from loosh_pipeline.domain import Emission, Hotkey, Metagraph, Neuron, OneSource, Proposal
from loosh_pipeline.policy.inputs import Earned, Inputs, LastVector, Policy
from loosh_pipeline.policy.propose import propose
from tests.builders import NOON, emission, metagraph, network_view, neuron

OWN = Hotkey("own")
CUTOFF = 5000
SET_AT = 10_000
"""Block at which the validator last set weights."""


def miner(name: str, uid: int = 1, **fields: Any) -> Neuron:
    """On an address and a coldkey of its own, unless given."""
    defaults = {"hotkey": name, "coldkey": f"cold-{name}", "ip": f"8.8.{uid // 250}.{uid % 250 + 1}"}
    return neuron(uid, **(defaults | fields))


def subnet(*neurons: Neuron, blocks_since: int = 100, **fields: Any) -> Metagraph:
    """These neurons and the validator, so many blocks after it last set weights."""
    own = miner(OWN, 0, ip=None, port=0, validator_permit=True, stake=5000.0, last_update=SET_AT)
    about = {"block": SET_AT + blocks_since, "activity_cutoff_blocks": CUTOFF}
    return metagraph((own, *neurons), **(about | fields))


def earned(emissions: Mapping[str, float | Emission], **fields: Any) -> Earned:
    """What each earned, over 24 h unless given."""
    rows = tuple(
        each if isinstance(each, Emission) else emission(name, emission=each, paid=10 * (each > 0))
        for name, each in emissions.items()
    )
    about: dict[str, Any] = {"at": NOON, "lookback_h": 24.0, "rounds": 10, "versions": {"v1": 10}}
    return Earned(emissions=rows, **(about | fields))


def inputs(emissions: Mapping[str, float | Emission], **fields: Any) -> Inputs:
    """Miners that earned this much on a subnet that has all of them. `rules` are fields of the policy, `scores` the
    Challenge API's sybil scores.

    They answered where they announce to be, unless given.
    """
    scores, rules = fields.pop("scores", None), fields.pop("rules", {})
    blocks_since = fields.pop("blocks_since", 100)
    neurons = [miner(name, uid) for uid, name in enumerate(emissions, start=1)]
    there = fields.pop("subnet", None) or subnet(*neurons, blocks_since=blocks_since)
    about: dict[str, Any] = {
        "at": NOON,
        "profile": "robust",
        "subnet": there,
        "answered_at": {each.hotkey: each.ip for each in there.neurons if each.ip},
        "own": OWN,
        "earned": earned(emissions),
        "view": None if scores is None else network_view(sybil_scores=scores),
        # no cap, unless it is what a test is about
        "policy": replace(Policy(entity_cap=1.0), **rules),
    }
    return Inputs(**(about | fields))


def proposed(emissions: Mapping[str, float | Emission], **fields: Any) -> Proposal:
    return propose(inputs(emissions, **fields))


def last(ago_h: float = 2.0, **shares: float) -> LastVector:
    return last_of(shares, NOON - timedelta(hours=ago_h))


def last_of(shares: Mapping[str, float], set_at: datetime = NOON - timedelta(hours=2), **fields: Any) -> LastVector:
    return LastVector(set_at, {Hotkey(name): share for name, share in shares.items()}, **fields)


def same_source(first: str, second: str, degree: float = 0.8, **fields: Any) -> OneSource:
    about: dict[str, Any] = {"rounds": 12, "degree": degree, "same_address": False, "same_coldkey": False}
    return OneSource(Hotkey(first), Hotkey(second), **(about | fields))


def acts(proposal: Proposal) -> list[tuple[str, str, float, float]]:
    return [(act.rule, act.hotkey, round(act.before, 9), round(act.after, 9)) for act in proposal.acts]

"""Weights when the network's own profile pays: its existing validator's, but for the holes in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from loosh_pipeline.policy.propose import propose
from loosh_pipeline.scoring.network.pay import penalise
from loosh_pipeline.scoring.network.profile import NetworkPay
from tests.builders import NOON, emission, network_view
from tests.policy.cases import OWN, acts, inputs, last, miner, subnet

EMERGENCY = 4500


def network_proposal(emissions: dict[str, Any], **fields: Any) -> Any:
    return propose(inputs(emissions, profile="network", **fields))


def test_shares_are_those_of_the_averages() -> None:
    """C19: averages of A and B as C16 leaves them after three hours."""
    proposal = network_proposal({"a": 0.4984, "b": 0.4, "c": 0.0})
    assert proposal.shares == pytest.approx({"a": 0.4984 / 0.8984, "b": 0.4 / 0.8984, "c": 0.0})
    assert proposal.acts == ()


def test_neither_evidence_nor_entities_count() -> None:
    there = subnet(*(miner(name, i, coldkey="one") for i, name in enumerate("abcd", 1)))
    names = {name: emission(name, emission=0.25, asked=1) for name in "abcd"}
    proposal = network_proposal(names, subnet=there, rules={"entity_cap": 0.25})
    assert proposal.shares == dict.fromkeys("abcd", 0.25)


def test_the_penalty_is_the_networks_with_its_valve_and_what_it_leaves() -> None:
    averages = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
    scores = {"a": 0.95, "b": 0.5, "c": 0.3}
    proposal = network_proposal(averages, scores=scores)
    expected = penalise(averages, scores, 4, NetworkPay())
    total = sum(expected.averages.values())
    assert proposal.shares == pytest.approx({name: value / total for name, value in expected.averages.items()})
    assert acts(proposal) == [
        ("sybil_penalty", "a", 0.4, 0.08),
        ("sybil_penalty", "b", 0.3, 0.15),
        ("sybil_penalty", "c", 0.2, 0.2),
    ]
    assert proposal.acts[2].reason.startswith("spared: its sybil score of 0.30")


@pytest.mark.parametrize(
    ("view", "rule"),
    [
        (network_view(validators=frozenset({"v"})), "the Challenge API lists it as a validator"),
        (network_view(validators=frozenset()), "its stake is that of a validator"),
        (network_view(validators=frozenset({"v"}), taken_at=NOON - timedelta(days=2)), "its stake is that"),
        (None, "its stake is that of a validator"),
    ],
)
def test_s29_an_empty_or_old_list_does_not_switch_the_rule_of_stake_off(view: Any, rule: str) -> None:
    there = subnet(miner("a", 1), miner("v", 2, stake=999.0), miner("nowhere", 3, ip=None, port=0))
    proposal = network_proposal({"a": 0.4, "v": 0.2, "nowhere": 0.2, "gone": 0.2}, subnet=there, view=view)
    assert proposal.shares == {"a": 1.0, "v": 0.0, "nowhere": 0.0}
    assert [act.rule for act in proposal.acts] == ["registered", "serving", "validators"]
    assert proposal.acts[2].reason.startswith(rule)


def test_when_nobody_has_anything_an_emergency_is_the_same_as_for_the_other_profile() -> None:
    there = subnet(miner("a", 1), miner("never", 2), blocks_since=EMERGENCY)
    nothing = {"a": 0.0}
    assert network_proposal(nothing, subnet=there, known=frozenset("a")).basis == "nothing"
    again = network_proposal(nothing, subnet=there, last=last(a=0.4, never=0.6))
    assert (again.basis, again.shares) == ("last_vector", pytest.approx({"a": 0.4, "never": 0.6}))
    uniform = network_proposal(nothing, subnet=there, known=frozenset({"a"}), rules={"emergency_uniform": True})
    assert (uniform.basis, uniform.shares) == ("uniform", {"a": 1.0})


def test_the_chains_limit_and_the_burn_hold_here_too() -> None:
    there = subnet(miner("a", 1), miner("b", 2), miner("owner", 3), max_weight_share=0.6)
    proposal = network_proposal({"a": 0.9, "b": 0.1}, subnet=there, rules={"burn_hotkey": "owner", "burn_share": 0.5})
    assert proposal.shares == pytest.approx({"a": 0.3, "b": 0.2, "owner": 0.5})


def test_the_validator_itself_is_never_paid() -> None:
    there = subnet(miner("a", 1))
    own = replace(there.neurons[0], ip="8.8.4.4", port=9000)
    proposal = network_proposal({"a": 0.5, OWN: 0.5}, subnet=replace(there, neurons=(own, *there.neurons[1:])))
    assert proposal.shares == {"a": 1.0, OWN: 0.0}

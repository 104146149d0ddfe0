"""Weights when the network's own profile pays: its existing validator's, but for the holes in it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loosh_pipeline.emissions import network_emissions
from loosh_pipeline.payouts import PAID, paid_of
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.policy.sybil import penalised
from loosh_pipeline.scoring.network.pay import penalise
from loosh_pipeline.scoring.network.profile import NetworkPay
from tests.builders import NOON, emission, network_view
from tests.policy.cases import OWN, acts, earned, inputs, last, miner, subnet

EMERGENCY = 4500


def network_proposal(emissions: dict[str, Any], **fields: Any) -> Any:
    return propose(inputs(emissions, profile="network", **fields))


def test_shares_are_those_of_the_averages() -> None:
    """C19: averages of A and B as C16 leaves them after three hours."""
    proposal = network_proposal({"a": 0.4984, "b": 0.4, "c": 0.0})
    assert proposal.shares == pytest.approx({"a": 0.4984 / 0.8984, "b": 0.4 / 0.8984, "c": 0.0})
    assert proposal.acts == ()


CASES = Path(__file__).parents[1] / "scoring" / "network" / "data" / "reference_scoring_cases.json"


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    """Worked cases of the existing validator, by id."""
    return {case["id"]: case for case in json.loads(CASES.read_text(encoding="utf-8"))["cases"]}


def test_the_worked_case_of_averages_freshness_and_shares_from_rows_to_weights(cases: dict[str, Any]) -> None:
    """C16 and C19. There, freshness is a probe's; with answers of the same hours it comes to the same."""
    given = cases["C16"]["input"]["rows_hours_ago_and_emissions"]
    rows = [
        (f"c-{ago}", {"7": "E"}.get(key, key), NOON - timedelta(hours=ago), True, True, paid)
        for ago, emissions in given
        for key, paid in emissions.items()
        if ago <= 24 and paid != "bad"
    ]
    found = network_emissions(paid_of(pl.DataFrame(rows, schema=PAID, orient="row")), NOON)
    expected = cases["C16"]["output"]["normal_3h"]["scores"]
    assert {each.hotkey: each.emission for each in found} == pytest.approx(expected)
    there = subnet(*(miner(name, i) for i, name in enumerate(cases["C19"]["input"]["serving"], 1)))
    what = earned({each.hotkey: each for each in found})
    proposal = propose(inputs({}, profile="network", earned=what, subnet=there))
    assert proposal.shares == pytest.approx(cases["C19"]["output"], abs=1e-8)


@pytest.mark.parametrize("serving", [10, 6])
def test_the_worked_case_of_the_penalty_and_its_valve(serving: int, cases: dict[str, Any]) -> None:
    """C18, among so many serving miners; who serves nowhere has no place in the weights."""
    case = cases["C18"]
    averages, expected = case["input"]["ema"], case["output"][f"serving_{serving}"]
    names = [*averages, "extra-1", "extra-2", "extra-3"][:serving]
    there = subnet(*(miner(name, i) for i, name in enumerate(names, 1)))
    proposal = network_proposal(averages, subnet=there, scores=case["input"]["sybil_scores"])
    total = sum(expected["scores"][name] for name in names if name in averages)
    assert {name: proposal.shares[name] for name in names if name in averages} == pytest.approx(
        {name: expected["scores"][name] / total for name in names if name in averages}
    )
    assert len(penalised(proposal.acts)) == expected["penalised"]


def test_who_does_not_serve_takes_a_place_among_the_worst_all_the_same() -> None:
    """The network's penalty comes before its look at who serves: of two soft cases with one place, the worse has it."""
    there = subnet(miner("a", 1), miner("b", 2), miner("gone", 3, ip=None, port=0))
    proposal = network_proposal({"a": 0.5, "b": 0.3, "gone": 0.2}, subnet=there, scores={"a": 0.2, "gone": 0.3})
    assert proposal.shares == pytest.approx({"a": 0.625, "b": 0.375, "gone": 0.0})


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

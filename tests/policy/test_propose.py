"""From what was earned to what is proposed: what comes in its place in need, and what always holds."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Mode
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.policy.checks import unmet
from loosh_pipeline.policy.inputs import Imported
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.policy.sybil import penalised
from tests.builders import NOON, emission, network_view
from tests.policy.cases import OWN, SET_AT, earned, inputs, last, last_of, miner, proposed, same_source, subnet

UNHURRIED = settings(deadline=None, max_examples=80)

NORMAL, DEGRADED, EMERGENCY = 100, 4000, 4500
NOBODY = {"a": 0.0, "b": 0.0, "c": 0.0}


def paid(proposal: Any) -> dict[str, float]:
    return {hotkey: share for hotkey, share in proposal.shares.items() if share}


@pytest.mark.parametrize(
    ("blocks_since", "lookback_h", "basis"),
    [
        (NORMAL, 24.0, "lookback"),
        (NORMAL, 48.0, "nothing"),
        (DEGRADED, 48.0, "longer_lookback"),
        (DEGRADED, 168.0, "nothing"),
        (EMERGENCY, 168.0, "longer_lookback"),
    ],
)
def test_each_mode_takes_the_lookbacks_it_may(blocks_since: int, lookback_h: float, basis: str) -> None:
    """Emissions are of the mode of a moment ago: weights may have been set since."""
    what = earned({"a": 0.5, "b": 0.5}, lookback_h=lookback_h)
    assert proposed({"a": 0.5, "b": 0.5}, earned=what, blocks_since=blocks_since).basis == basis


@pytest.mark.parametrize("blocks_since", [NORMAL, DEGRADED])
def test_no_data_is_never_made_weights_of_while_there_is_time(blocks_since: int) -> None:
    known = frozenset("abc")
    proposal = proposed(
        NOBODY, blocks_since=blocks_since, last=last(a=1.0), known=known, rules={"emergency_uniform": True}
    )
    assert (proposal.basis, paid(proposal), proposal.rounds) == ("nothing", {}, 0)


def test_in_an_emergency_the_last_weights_stand_as_far_as_they_may() -> None:
    there = subnet(
        miner("a", 1),
        miner("b", 2),
        miner("nowhere", 3, ip=None, port=0),
        miner("sybil", 4, coldkey="x"),
        miner("twin", 5, coldkey="x"),
        blocks_since=EMERGENCY,
    )
    names = {"a": 0.0, "b": 0.0, "nowhere": 0.0, "sybil": 0.0, "twin": 0.0}
    before = last(a=0.3, b=0.1, nowhere=0.2, gone=0.2, sybil=0.2)
    proposal = proposed(names, subnet=there, last=before, scores={"sybil": 0.5})
    assert proposal.basis == "last_vector"
    assert paid(proposal) == pytest.approx({"a": 0.75, "b": 0.25})
    assert {act.rule for act in proposal.acts} == {"registered", "serving", "sybil_penalty"}


@pytest.mark.parametrize("ago_h", [1, 24 * 30])
def test_w_24_what_was_not_earned_is_never_paid_to_the_suspected(ago_h: float) -> None:
    """However old the suspicion, and without anything of our own: neither the last weights, all alike, nor padding."""
    view = network_view(sybil_scores={"a": 0.1, "b": 0.09}, taken_at=NOON - timedelta(hours=ago_h))
    there = subnet(miner("a", 1), miner("b", 2), miner("c", 3), blocks_since=EMERGENCY, min_allowed_weights=3)
    about: dict[str, Any] = {"subnet": there, "view": view, "known": frozenset("ab")}
    again = proposed({}, **about, last=last(a=0.5, b=0.5))
    assert (again.basis, paid(again)) == ("last_vector", {"b": 1.0})
    alike = proposed({}, **about, rules={"emergency_uniform": True})
    assert (alike.basis, paid(alike)) == ("uniform", {"b": 1.0})
    earning = proposed({"c": 1.0}, **about)
    assert set(paid(earning)) == {"b", "c"}


def test_after_an_outage_the_first_rounds_do_not_take_everything() -> None:
    """Hundred miners were paid, and the one round since then knows three of them."""
    names = [f"m{i:03d}" for i in range(100)]
    there = subnet(*(miner(name, i) for i, name in enumerate(names, 1)), blocks_since=EMERGENCY)
    before = last_of(dict.fromkeys(names, 0.01))
    few, many = (dict.fromkeys(names[:count], 1.0) for count in (3, 50))
    again = proposed(few, subnet=there, last=before)
    assert (again.basis, len(paid(again))) == ("last_vector", 100)
    assert (basis := proposed(many, subnet=there, last=before).basis) == "lookback", basis
    some_left = replace(there, neurons=there.neurons[:7])
    assert proposed(few, subnet=some_left, last=before).basis == "lookback", "three of the six that are there still"
    degraded = replace(there, block=SET_AT + DEGRADED)
    assert proposed(few, subnet=degraded, last=before).basis == "lookback", "there is time to wait for more"


def test_weights_that_made_up_a_number_are_not_waited_for() -> None:
    names = [f"m{i:03d}" for i in range(40)]
    there = subnet(*(miner(name, i) for i, name in enumerate(names, 1)), blocks_since=EMERGENCY)
    before = last_of({names[0]: 0.6, names[1]: 0.4} | dict.fromkeys(names[2:], 0.6 / 65_535))
    assert proposed({names[0]: 1.0}, subnet=there, last=before).basis == "lookback"


def test_what_was_burnt_last_time_is_burnt_once() -> None:
    there = subnet(miner("a", 1), miner("owner", 2), blocks_since=EMERGENCY)
    proposal = proposed(
        {"a": 0.0}, subnet=there, last=last(a=0.6, owner=0.4), rules={"burn_hotkey": "owner", "burn_share": 0.4}
    )
    assert paid(proposal) == pytest.approx({"a": 0.6, "owner": 0.4})


def test_w_24_all_alike_only_with_consent_and_only_the_known() -> None:
    """The existing validator then also pays miners that never answered, sybils and, at times, validators."""
    there = subnet(
        miner("a", 1),
        miner("b", 2),
        miner("never", 3),
        miner("nowhere", 4, ip=None, port=0),
        miner("sybil", 5, coldkey="cold-a"),
        miner("whale", 6, validator_permit=True, stake=5000.0),
        blocks_since=EMERGENCY,
    )
    names = dict.fromkeys(("a", "b", "sybil"), 0.0)
    known = frozenset({"a", "b", "nowhere", "sybil", "whale", "gone", OWN})
    view = network_view(validators=frozenset({"whale"}), sybil_scores={"sybil": 0.5})
    about: dict[str, Any] = {"subnet": there, "known": known, "view": view}
    refused = proposed(names, **about)
    assert (refused.basis, paid(refused)) == ("nothing", {})
    consented = proposed(names, **about, rules={"emergency_uniform": True})
    assert (consented.basis, paid(consented)) == ("uniform", {"a": 0.5, "b": 0.5})


def test_when_rules_leave_nobody_of_the_lookback_the_next_basis_comes() -> None:
    """W-24: an emergency is not over because the only miner that earned has left."""
    there = subnet(miner("b", 2), blocks_since=EMERGENCY)
    proposal = proposed({"gone": 1.0}, subnet=there, last=last(b=1.0))
    assert (proposal.basis, paid(proposal)) == ("last_vector", {"b": 1.0})
    there = subnet(miner("b", 2), blocks_since=NORMAL)
    nothing = proposed({"gone": 1.0}, subnet=there, last=last(b=1.0))
    assert (nothing.basis, [act.hotkey for act in nothing.acts]) == ("nothing", ["gone"])


@pytest.mark.parametrize(("blocks_since", "out"), [(NORMAL, True), (DEGRADED, False), (EMERGENCY, False)])
def test_in_need_one_round_is_evidence_enough(blocks_since: int, out: bool) -> None:
    names = {"a": emission("a"), "b": emission("b", asked=1)}
    assert ("b" not in paid(proposed(names, blocks_since=blocks_since))) == out


def test_an_emission_that_is_no_number_is_named() -> None:
    for wrong in (math.nan, math.inf, -0.1):
        with pytest.raises(ScoringError, match=f"the emissions b {wrong}; see settled_scores"):
            proposed({"a": 0.5, "b": wrong})


def test_nobody_at_all_is_a_proposal_too() -> None:
    proposal = proposed({})
    assert (dict(proposal.shares), proposal.basis) == ({}, "nothing")


NAMES = [f"m{i:02d}" for i in range(14)]


def imports() -> st.SearchStrategy[Imported]:
    """What an existing validator had found, of some hour of the last two days."""
    averages = st.dictionaries(st.sampled_from(NAMES), st.just(0.0) | st.floats(1e-6, 2.6), min_size=1)
    ages = st.floats(0.0, 48.0).map(lambda hours: NOON - timedelta(hours=hours))
    return st.builds(
        lambda until, found, counts: Imported(
            until - timedelta(hours=24), until, 1000, found, dict(zip(found, counts, strict=False)), ("d1" * 32,), NOON
        ),
        ages,
        averages,
        st.lists(st.integers(1, 1000), min_size=len(NAMES), max_size=len(NAMES)),
    )


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Subnets with owners, addresses, suspicions and miners that left, in every mode."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    amounts = {name: draw(st.floats(1e-6, 1.0) | st.just(0.0)) for name in names}
    emissions = {
        name: emission(name, emission=amount, asked=asked, answered=draw(st.integers(0, asked)), paid=int(amount > 0))
        for name, amount in amounts.items()
        for asked in [draw(st.integers(1, 12))]
    }
    there = draw(st.lists(st.sampled_from(NAMES), unique=True))
    neurons = [
        miner(
            name,
            1 + NAMES.index(name),
            coldkey=draw(st.sampled_from(["x", "y", f"cold-{name}"])),
            ip=draw(st.sampled_from(["8.8.4.4", f"9.9.9.{i + 1}", None])),
            validator_permit=draw(st.booleans()),
            stake=draw(st.sampled_from([1.0, 2000.0])),
        )
        for i, name in enumerate(there)
    ]
    blocks = draw(st.sampled_from([NORMAL, DEGRADED, EMERGENCY]))
    scores = {name: draw(st.floats(0.0, 1.0)) for name in draw(st.lists(st.sampled_from(NAMES), unique=True))}
    sources = (same_source("m00", "m01"),) if draw(st.booleans()) else ()
    rules = {
        "entity_cap": draw(st.floats(0.05, 1.0)),
        "max_share": draw(st.floats(0.05, 1.0)),
        "emergency_uniform": draw(st.booleans()),
        "sybil_evidence": draw(st.booleans()),
    }
    if draw(st.booleans()):
        rules |= {"burn_hotkey": "m13", "burn_share": draw(st.floats(0.01, 1.0))}
    return {
        "emissions": emissions,
        "subnet": subnet(
            *neurons,
            blocks_since=blocks,
            min_allowed_weights=draw(st.integers(1, 8)),
            max_weight_share=draw(st.sampled_from([1.0, 0.5, 0.2])),
        ),
        "earned": earned(emissions, sources=sources),
        "scores": scores or None,
        "known": frozenset(draw(st.lists(st.sampled_from(NAMES)))),
        "last": last(m02=0.5, m03=0.5) if draw(st.booleans()) else None,
        "imported": draw(st.none() | imports()),
        "rules": rules,
    }


def made(world: dict[str, Any]) -> Any:
    return propose(inputs(**world))


@UNHURRIED
@given(worlds())
def test_what_always_holds(world: dict[str, Any]) -> None:
    proposal, there = made(world), world["subnet"].by_hotkey()
    shares, total = paid(proposal), math.fsum(proposal.shares.values())
    assert total == 0 or abs(total - 1) <= 1e-9
    assert all(math.isfinite(share) and share >= 0 for share in proposal.shares.values())
    burnt = world["rules"].get("burn_hotkey")
    before = {
        *(world["last"].shares if world["last"] else ()),
        *(world["imported"].averages if world["imported"] else ()),
    }
    assert set(proposal.shares) <= set(there), "nothing for who is not registered"
    for hotkey in shares.keys() - {burnt}:
        assert there[hotkey].serves
        assert hotkey != OWN
        assert hotkey in before or hotkey in world["emissions"] or hotkey in world["known"]
    padded = {act.hotkey for act in proposal.acts if act.rule == "minimum_weights"}
    assert not padded & penalised(proposal.acts), "padding never pays the penalised"
    if world["imported"] is None:  # by the network's own rules the worst are never spared
        assert len(penalised(a for a in proposal.acts if a.after > 0)) <= max(1, int(0.33 * len(there)))
    if proposal.mode is not Mode.EMERGENCY:
        assert proposal.basis in ("lookback", "nothing") or (world["imported"] and proposal.basis == "imported")


@UNHURRIED
@given(worlds())
def test_what_passes_every_check_can_be_set(world: dict[str, Any]) -> None:
    """No proposal fails for the first time where weights are planned, in any mode."""
    made_of = inputs(**world)
    proposal = propose(made_of)
    if not unmet(proposal, made_of):
        plan_weights(proposal.shares, made_of.subnet, OWN)


@UNHURRIED
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_changes_no_bit(world: dict[str, Any], random: Any) -> None:
    there = world["subnet"]
    neurons = list(there.neurons)
    rows = list(world["earned"].emissions)
    random.shuffle(neurons)
    random.shuffle(rows)
    mixed = {
        **world,
        "subnet": replace(there, neurons=tuple(neurons)),
        "earned": replace(world["earned"], emissions=tuple(rows)),
    }
    assert made(mixed) == made(world)


@UNHURRIED
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_worse_the_score_the_less_is_left(one: float, other: float) -> None:
    low, high = sorted((one, other))
    less, more = (
        proposed({"a": 0.4, "b": 0.6}, scores={"a": score}, rules={"sybil_evidence": False}).shares["a"]
        for score in (high, low)
    )
    assert less <= more


ANOTHER_PROCESS = """
from tests.policy.cases import inputs, last, same_source, earned
from loosh_pipeline.policy.propose import propose
names = {f"m{i:02d}": (i * 37 % 11) / 10 for i in range(40)}
what = earned(names, sources=tuple(same_source(f"m{i:02d}", f"m{i + 1:02d}") for i in range(0, 40, 2)))
scores = {name: 0.1 * (i % 9) for i, name in enumerate(names)}
print(repr(propose(inputs(names, earned=what, scores=scores, last=last(m00=1.0), known=frozenset(names),
                          blocks_since=4500, rules={"entity_cap": 0.05, "emergency_uniform": True}))))
"""


def test_another_process_proposes_the_same_bytes() -> None:
    """Whatever order its sets happen to have: texts are hashed with another salt in every process."""
    said = [
        subprocess.run(
            [sys.executable, "-c", ANOTHER_PROCESS],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert "sybil_penalty" in said[0]

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.chain.messages import ChainRequest
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.weights import U16_MAX, matches, plan_weights, quantize
from loosh_pipeline.domain import Block, Hotkey, ObservedWeights, Uid
from loosh_pipeline.errors import ChainError, ScoringError
from loosh_pipeline.settings import Settings
from tests.builders import metagraph, neuron, shares

OWN = Hotkey("hotkey-0")


def test_hotkeys_become_uids_of_the_snapshot() -> None:
    subnet = metagraph((neuron(0), neuron(5, hotkey="a"), neuron(9, hotkey="b")), weights_version_key=3)
    plan = plan_weights(shares(b=0.25, a=0.75), subnet, OWN)
    assert plan.weights == {5: 0.75, 9: 0.25}
    assert plan.hotkeys == {5: "a", 9: "b"}
    assert (plan.netuid, plan.block, plan.version_key, plan.dropped) == (78, 100, 3, {})


def test_who_is_left_out_is_told_why_and_the_rest_sums_to_one() -> None:
    plan = plan_weights(shares(hotkey_0=0.4, hotkey_1=0.3, hotkey_2=0.0, hotkey_3=1e-9, stranger=0.3), metagraph(), OWN)
    assert plan.weights == {1: 1.0}
    assert plan.dropped == {
        OWN: "own hotkey: a validator gives itself no weight",
        "hotkey-2": "weight is 0",
        "hotkey-3": "weight is below 1/131070 of the largest, which the chain rounds to 0",
        "stranger": "not registered on subnet 78 at block 100",
    }


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_no_weight_is_an_error(weight: float) -> None:
    with pytest.raises(ScoringError, match=f"the share of hotkey-1 is {weight}"):
        plan_weights(shares(hotkey_1=weight), metagraph(), OWN)


def test_nothing_left_is_an_error_that_says_why() -> None:
    with pytest.raises(ChainError, match=r"0 weights are left for subnet 78 at block 100.*nobody was proposed"):
        plan_weights({}, metagraph(), OWN)
    with pytest.raises(ChainError, match="stranger: not registered"):
        plan_weights(shares(stranger=0.5), metagraph(), OWN)


def test_the_subnet_may_ask_for_several_weights_but_not_more_than_it_has_neurons_w_24() -> None:
    with pytest.raises(ChainError, match=r"1 weights are left .* asks for at least 2"):
        plan_weights(shares(hotkey_1=0.5), metagraph(min_allowed_weights=2), OWN)
    everyone = {Hotkey(f"hotkey-{uid}"): 0.5 for uid in range(1, 4)}
    small = metagraph(tuple(neuron(uid) for uid in range(1, 4)), min_allowed_weights=1024)
    assert len(plan_weights(everyone, small, OWN).weights) == 3


shares_of_anyone = st.dictionaries(
    st.integers(0, 20), st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=15
).map(lambda given: {Hotkey(f"hotkey-{uid}"): share for uid, share in given.items()})


@given(shares_of_anyone)
def test_a_plan_is_a_distribution_over_registered_others(proposed: dict[Hotkey, float]) -> None:
    subnet = metagraph(tuple(neuron(uid) for uid in range(12)))
    payable = {h: s for h, s in proposed.items() if s > 0 and h != OWN and h in subnet.by_hotkey()}
    if not payable:
        with pytest.raises(ChainError):
            plan_weights(proposed, subnet, OWN)
        return
    plan = plan_weights(proposed, subnet, OWN)
    assert math.isclose(sum(plan.weights.values()), 1)
    assert {*plan.hotkeys.values(), *plan.dropped} == set(proposed)
    assert OWN not in plan.hotkeys.values()
    best = max(payable, key=lambda hotkey: payable[hotkey])
    assert plan.weights[subnet.by_hotkey()[best].uid] == max(plan.weights.values())
    assert quantize(plan.weights).keys() == plan.weights.keys(), "what is planned survives the chain's rounding"


def test_quantizing_is_relative_to_the_largest() -> None:
    assert quantize({Uid(1): 0.5, Uid(2): 0.25, Uid(3): 0.0}) == {1: U16_MAX, 2: 32_768}
    assert quantize({}) == quantize({Uid(1): 0.0}) == {}


def observed_row(values: dict[Uid, int]) -> ObservedWeights:
    total = sum(values.values())
    weights = {uid: value / total for uid, value in values.items()}
    return ObservedWeights(OWN, Uid(0), Block(101), Block(101), weights)


rows = st.dictionaries(st.integers(0, 255).map(Uid), st.floats(1e-3, 1), min_size=1, max_size=60)


@given(rows, st.data())
def test_a_row_matches_itself_off_by_one_and_no_other(row: dict[Uid, float], data: st.DataObject) -> None:
    total = sum(row.values())
    plan = replace(
        plan_weights(shares(hotkey_1=0.5), metagraph(), OWN),
        weights={uid: weight / total for uid, weight in row.items()},
    )
    values = quantize(plan.weights)
    assert matches(plan, observed_row(values))
    nudged = {uid: max(1, value + data.draw(st.integers(-1, 1))) for uid, value in values.items()}
    assert matches(plan, observed_row(nudged))
    changed = data.draw(st.sampled_from(sorted(values)))
    assert not matches(plan, observed_row(values | {changed: values[changed] + 5_000})) or len(values) == 1
    assert not matches(plan, observed_row(values | {Uid(256): 1}))


def test_an_empty_row_matches_no_plan() -> None:
    plan = plan_weights(shares(hotkey_1=0.5), metagraph(), OWN)
    assert not matches(plan, ObservedWeights(OWN, Uid(0), Block(101), Block(0), {}))


def test_more_than_the_subnet_allows_is_refused_before_the_sdk_would_make_all_alike() -> None:
    subnet = metagraph(max_weight_share=0.6)
    with pytest.raises(ChainError, match=r"hotkey-1 would have 75.0% of all weight, and subnet 78 allows 60.0%"):
        plan_weights(shares(hotkey_1=0.75, hotkey_2=0.25), subnet, OWN)
    assert plan_weights(shares(hotkey_1=0.6, hotkey_2=0.4), subnet, OWN).weights == {1: 0.6, 2: 0.4}


def test_who_is_left_out_stays_in_the_ledger_and_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_weights(shares(hotkey_1=0.5, stranger=0.5), metagraph(), OWN)
    asked: list[ChainRequest] = []
    monkeypatch.setattr(ProcessChain, "_run", lambda _, operation, request, before_sending: asked.append(request))
    ProcessChain(Settings(_env_file=None)).submit_weights(plan)
    (request,) = asked
    assert plan.dropped
    assert request.plan == replace(plan, dropped={})

from __future__ import annotations

import pytest

from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.readiness import not_ready
from loosh_pipeline.chain.weights import matches, plan_weights
from loosh_pipeline.domain import Block, Hotkey
from loosh_pipeline.errors import ChainError, ChainTimeout
from tests.builders import metagraph, neuron, shares

OWN = Hotkey("hotkey-0")


def fake(**fields: object) -> FakeChain:
    neurons = (neuron(0, validator_permit=True), neuron(1), neuron(2))
    return FakeChain(metagraph(neurons, **fields), OWN)


def test_what_is_submitted_is_observed_and_starts_the_interval() -> None:
    fake_chain = fake()
    chain: Chain = fake_chain
    plan = plan_weights(shares(hotkey_1=0.5, hotkey_2=0.5), chain.snapshot(78), chain.identity())
    submission = chain.submit_weights(plan)
    assert submission.success
    assert submission.included_block == 101
    assert matches(plan, chain.observe(78, OWN))
    assert not_ready(chain.snapshot(78), OWN, interval_blocks=10) is not None
    fake_chain.advance(10)
    assert not_ready(chain.snapshot(78), OWN, interval_blocks=10) is None
    assert fake_chain.submitted == [plan]
    assert fake_chain.calls[:3] == ["snapshot", "identity", "submit_weights"]


def test_a_commit_is_observed_once_revealed() -> None:
    chain = fake(commit_reveal=True)
    plan = plan_weights(shares(hotkey_1=1.0), chain.snapshot(78), OWN)
    assert chain.submit_weights(plan).commit_reveal
    assert chain.observe(78, OWN).weights == {}
    chain.reveal()
    assert matches(plan, chain.observe(78, OWN))


def test_failures_and_refusals_come_once_in_order() -> None:
    chain = fake()
    chain.fail("snapshot", ChainTimeout("late"))
    chain.refuse("rate_limited", "too soon")
    with pytest.raises(ChainTimeout, match="late"):
        chain.snapshot(78)
    plan = plan_weights(shares(hotkey_1=1.0), chain.snapshot(78), OWN)
    assert chain.submit_weights(plan).error_code == "rate_limited"
    assert chain.observe(78, OWN).weights == {}
    assert chain.submit_weights(plan).success
    with pytest.raises(ChainError, match="subnet 5 does not exist"):
        chain.snapshot(5)
    with pytest.raises(ValueError, match="no operation 'transfer'"):
        chain.fail("transfer", ChainTimeout("late"))


def test_only_blocks_that_are_there_have_a_hash() -> None:
    chain = fake()
    block = Block(chain.metagraph.block + 1)
    assert chain.block_hash(block) is None
    chain.advance(1)
    found = chain.block_hash(block)
    assert found is not None
    assert len(found) == 66
    assert found == chain.block_hash(block) != chain.block_hash(Block(block - 1))

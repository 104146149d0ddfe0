"""What a subnet's owner and the network do to a running chain: registrations, parameters, upgrades."""

from __future__ import annotations

from typing import Any

import pytest
from bittensor_core import Keypair

from loosh_pipeline.devnet.chain import ChainFault, NeuronSpec
from loosh_pipeline.devnet.chain.pool import Refused
from loosh_pipeline.devnet.chain.registration import replace_neuron
from loosh_pipeline.devnet.chain.runtime import SPEC_VERSIONS
from loosh_pipeline.errors import DevnetError
from tests.devnet.chain_client import (
    IDLE,
    MINER,
    NETUID,
    VALIDATOR,
    commit_call,
    events,
    execute,
    new_chain,
    row,
    signed,
    weights_call,
)

NEWCOMER = Keypair.create_from_uri("//newcomer").ss58_address
COLDKEY = Keypair.create_from_uri("//newcomer//cold").ss58_address
REPLACEMENT = NeuronSpec(NEWCOMER, COLDKEY, ip="10.1.2.3", port=9009, stake_tao=7.0)


def test_a_recycled_uid_is_a_stranger_whom_no_weight_pays() -> None:
    chain = new_chain(rate_limit_blocks=0)
    assert execute(chain, weights_call(dests=[0, 2], weights=[100, 50])) == "ExtrinsicSuccess"
    assert execute(chain, weights_call(dests=[0], weights=[1]), MINER) == "ExtrinsicSuccess"
    chain.tick(3)
    block = chain.replace_neuron(0, REPLACEMENT)
    state = chain.state()
    assert row(chain, 1) == [(0, 0), (2, 32768)], "weights on it are 0, the others stay"
    assert row(chain, 0) == [], "its own are gone"
    assert state.get("Keys", NETUID, 0) == NEWCOMER
    assert state.get("Uids", NETUID, NEWCOMER) == 0
    assert state.get("Uids", NETUID, MINER.ss58_address) is None
    assert state.get("Axons", NETUID, MINER.ss58_address) is None
    assert state.get("Axons", NETUID, NEWCOMER)["port"] == 9009
    assert state.get("Owner", NEWCOMER) == COLDKEY
    assert state.get("BlockAtRegistration", NETUID, 0) == block.number
    assert list(state.get("LastUpdate", NETUID)) == [block.number, 1, 0]
    assert execute(chain, weights_call(), MINER) == "HotKeyNotRegisteredInSubNet"
    before = chain.state(chain.block_at(block.number - 1).hash)
    assert before.get("Keys", NETUID, 0) == MINER.ss58_address, "the past stays what it was"


def test_a_registration_no_chain_could_hold_is_an_error_and_changes_nothing() -> None:
    chain = new_chain()
    with pytest.raises(DevnetError, match="uid 3 is not registered on subnet 78; uids go from 0 to 2"):
        chain.replace_neuron(3, REPLACEMENT)
    with pytest.raises(DevnetError, match="registered on subnet 78 already"):
        chain.replace_neuron(0, NeuronSpec(VALIDATOR.ss58_address, COLDKEY))
    with pytest.raises(DevnetError, match="'nobody' is not an SS58 address"):
        chain.replace_neuron(0, NeuronSpec("nobody", COLDKEY))
    assert chain.head.number == 0
    chain.tick()
    assert chain.state().get("Keys", NETUID, 0) == MINER.ss58_address


def test_changes_wait_while_the_head_is_stale_and_see_one_another() -> None:
    chain = new_chain()
    chain.faults.switch(ChainFault.STALE_HEAD)
    assert chain.replace_neuron(0, REPLACEMENT) is chain.genesis
    with pytest.raises(DevnetError, match="registered on subnet 78 already"):
        chain.replace_neuron(2, REPLACEMENT)
    chain.faults.switch(ChainFault.STALE_HEAD, False)
    chain.tick()
    assert chain.state().get("Uids", NETUID, NEWCOMER) == 0


@pytest.mark.parametrize(
    ("change", "call", "keypair", "before", "after"),
    [
        ({"commit_reveal": True}, weights_call(), VALIDATOR, "ExtrinsicSuccess", "CommitRevealEnabled"),
        ({"commit_reveal": True}, commit_call(), VALIDATOR, "CommitRevealDisabled", "ExtrinsicSuccess"),
        ({"rate_limit_blocks": 9}, weights_call(), VALIDATOR, "ExtrinsicSuccess", "SettingWeightsTooFast"),
        ({"weights_version_key": 9}, weights_call(), VALIDATOR, "ExtrinsicSuccess", "IncorrectWeightVersionKey"),
        ({"stake_threshold_tao": 2e3}, weights_call(), VALIDATOR, "ExtrinsicSuccess", "NotEnoughStakeToSetWeights"),
        ({"min_allowed_weights": 3}, weights_call(), VALIDATOR, "ExtrinsicSuccess", "WeightVecLengthIsLow"),
        ({"max_weights_limit": 9}, weights_call(), VALIDATOR, "ExtrinsicSuccess", "MaxWeightExceeded"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_parameters_change_while_the_chain_runs(
    change: dict[str, Any], call: bytes, keypair: Keypair, before: str, after: str
) -> None:
    chain = new_chain(rate_limit_blocks=0)
    assert execute(chain, call, keypair) == before
    chain.set_parameters(**change)
    assert execute(chain, call, keypair) == after


def test_permits_and_stakes_change_too() -> None:
    chain = new_chain(rate_limit_blocks=0, stake_threshold_tao=10.0)
    assert execute(chain, weights_call(), IDLE) == "NotEnoughStakeToSetWeights"
    chain.set_standing(2, stake_tao=11.0)
    assert execute(chain, weights_call(), IDLE) == "NeuronNoValidatorPermit"
    chain.set_standing(2, permit=True)
    assert execute(chain, weights_call(), IDLE) == "ExtrinsicSuccess"
    with pytest.raises(DevnetError, match="uid 9 is not registered"):
        chain.set_standing(9, permit=True)


def test_a_parameter_that_is_none_or_impossible_is_an_error() -> None:
    chain = new_chain()
    with pytest.raises(DevnetError, match=r"no hyperparameter 'keep_blocks'; there are tempo_blocks, "):
        chain.set_parameters(keep_blocks=300)
    with pytest.raises(DevnetError, match="tempo_blocks is 0"):
        chain.set_parameters(tempo_blocks=0)
    with pytest.raises((ValueError, OverflowError)):
        chain.set_parameters(min_allowed_weights=70_000)
    chain.tick()
    assert chain.state().get("Tempo", NETUID) == 360


def test_a_new_tempo_counts_from_its_block_and_an_owner_may_ask_for_an_epoch() -> None:
    def schedule() -> tuple[int, int, int, int]:
        names = ("SubnetEpochIndex", "LastEpochBlock", "PendingEpochAt", "BlocksSinceLastStep")
        epoch, last, pending, since = (chain.state().get(name, NETUID) for name in names)
        return epoch, last, pending, since

    chain = new_chain(tempo_blocks=10)
    chain.tick(8)
    chain.set_parameters(tempo_blocks=5)
    assert schedule() == (0, 9, 0, 9)
    chain.tick(4)
    assert schedule() == (0, 9, 0, 13)
    chain.tick()
    assert schedule() == (1, 14, 0, 0)
    chain.trigger_epoch(in_blocks=2)
    assert schedule() == (1, 14, 17, 1)
    chain.tick(2)
    assert schedule() == (2, 17, 0, 0)
    with pytest.raises(DevnetError, match="cannot start in 0 blocks"):
        chain.trigger_epoch(in_blocks=0)


def test_who_sets_no_weights_is_inactive_after_the_cutoff() -> None:
    chain = new_chain(tempo_blocks=10, activity_cutoff_factor_milli=1000)
    chain.tick(9)
    assert execute(chain, weights_call()) == "ExtrinsicSuccess"
    chain.tick(10)
    assert list(chain.state().get("Active", NETUID)) == [False, True, False]


def test_an_upgrade_shows_from_its_block_on_and_the_version_always_grows() -> None:
    chain = new_chain(runtime="recorded439", rate_limit_blocks=0)
    assert chain.runtime.spec_version == 439
    first = chain.tick()
    upgraded = chain.upgrade("recorded")
    assert events(chain) == [("Initialization", "CodeUpdated")]
    versions = [chain.runtime_at(hash).spec_version for hash in (first.hash, upgraded.hash)]
    assert versions == [439, 461]
    assert execute(chain, weights_call()) == "ExtrinsicSuccess", "what was stored before is still read"
    chain.upgrade("current")
    assert (chain.runtime.name, chain.runtime.spec_version) == ("current", SPEC_VERSIONS["recorded"] + 1)
    for older in ("current", "recorded", "nonsense"):
        with pytest.raises(DevnetError, match=f"'{older}' is no runtime newer than 'current'"):
            chain.upgrade(older)


def test_what_was_signed_for_the_old_version_dies_with_it() -> None:
    chain = new_chain(runtime="recorded")
    early, waiting = signed(chain, weights_call(), nonce=0), signed(chain, weights_call(), nonce=5)
    chain.submit(waiting)
    chain.upgrade("current")
    assert chain.pool() == []
    with pytest.raises(Refused, match="bad signature"):
        chain.submit(early)
    with pytest.raises(Refused, match="temporarily banned") as banned:
        chain.submit(waiting)
    assert banned.value.code == 1012


def test_an_upgrade_meets_a_transaction_at_the_end_of_its_life() -> None:
    chain = new_chain(runtime="recorded")
    chain.tick(8)
    era = {"period": 4, "current": 8}
    chain.submit(signed(chain, weights_call(), nonce=5, era=era, era_block_hash=chain.head.hash))
    chain.tick(2)
    assert len(chain.pool()) == 1
    assert chain.upgrade("current").number == 11
    assert chain.pool() == []


def test_registration_is_undone_by_a_reorg() -> None:
    chain = new_chain(finality_lag_blocks=5)
    chain.faults.switch(ChainFault.REORG)
    chain.submit(signed(chain, weights_call()))
    chain.administer(lambda state, block: replace_neuron(state, NETUID, 0, REPLACEMENT, block) or [])
    assert chain.state().get("Uids", NETUID, NEWCOMER) == 0
    chain.tick()
    assert chain.state().get("Uids", NETUID, NEWCOMER) is None

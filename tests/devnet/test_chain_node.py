from __future__ import annotations

import threading

import pytest

from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec
from loosh_pipeline.devnet.chain.ledger import UnknownBlock
from loosh_pipeline.devnet.chain.pool import Refused
from loosh_pipeline.errors import DevnetError
from tests.devnet.chain_client import MINER, NETUID, NEURONS, VALIDATOR, new_chain, outcome, signed, weights_call


def refused(chain: DevnetChain, raw: bytes) -> tuple[int, str]:
    with pytest.raises(Refused) as raised:
        chain.submit(raw)
    assert chain.pool() == [] or raised.value.code in (1013, 1014)
    return raised.value.code, raised.value.reason


def test_a_signature_of_another_key_chain_call_or_nonce_is_bad() -> None:
    chain = new_chain()
    good = signed(chain, weights_call())
    position = good.index(bytes(VALIDATOR.public_key))
    other_signer = good[:position] + bytes(MINER.public_key) + good[position + 32 :]
    other_call = good[:-12] + b"\1" + good[-11:]
    other_chain = signed(new_chain(tempo_blocks=99), weights_call())
    for forged in (other_signer, other_call, other_chain):
        assert refused(chain, forged) == (1010, "Transaction has a bad signature")
    assert chain.submit(good).address == VALIDATOR.ss58_address


def test_what_is_no_extrinsic_or_no_call_is_refused() -> None:
    chain = new_chain()
    code, reason = refused(chain, b"\x08hi")
    assert code == 1002
    assert "a signed extrinsic of version 4 is expected" in reason
    assert refused(chain, signed(chain, weights_call() + b"\0"))[0] == 1002


def test_nonces_are_used_once_and_in_order() -> None:
    chain = new_chain(rate_limit_blocks=0)
    first, second = (signed(chain, weights_call(version_key=n), nonce=n) for n in (0, 1))
    chain.submit(second)
    chain.tick()
    assert len(chain.pool()) == 1, "a nonce ahead of its turn waits"
    chain.submit(first)
    assert chain.next_nonce(VALIDATOR.ss58_address) == 2
    assert refused(chain, first)[0] == 1013
    assert refused(chain, signed(chain, weights_call(version_key=9), nonce=0, tip=1))[0] == 1014
    block = chain.tick()
    assert len(block.included) == 2
    assert refused(chain, first) == (1010, "Transaction is outdated")


def test_a_mortal_extrinsic_dies() -> None:
    chain = new_chain()
    chain.tick(10)
    era = {"period": 64, "current": 10}
    mortal = signed(chain, weights_call(), era=era, era_block_hash=chain.head.hash)
    chain.submit(mortal)
    chain.tick()
    assert outcome(chain) == "ExtrinsicSuccess"
    late = signed(chain, weights_call(), era=era, era_block_hash=chain.block_at(10).hash)
    ahead = signed(chain, weights_call(), nonce=5, era=era, era_block_hash=chain.block_at(10).hash)
    chain.submit(ahead)
    chain.tick(62)
    assert chain.head.number == 73
    with pytest.raises(Refused, match="ancient birth block"):
        chain.submit(late)
    assert [extrinsic.raw for extrinsic in chain.pool()] == [ahead]
    chain.tick()
    assert chain.pool() == [], "what has expired is dropped"
    # Seen from here the same era started at block 74, which is not what was signed.
    assert refused(chain, late) == (1010, "Transaction has a bad signature")


def test_old_blocks_and_states_are_discarded() -> None:
    chain = new_chain(keep_blocks=256, tempo_blocks=50)
    second = chain.tick()
    chain.tick(600)
    entries = chain.storage_entries()
    chain.tick(600)
    assert chain.storage_entries() == entries, "memory does not grow with the chain"
    assert chain.block_at(second.number) is None
    with pytest.raises(UnknownBlock, match=f"State already discarded for {second.hash}"):
        chain.state(second.hash)
    assert chain.block_at(0) is chain.genesis
    assert chain.state(chain.block_at(chain.head.number - 255).hash).get("SubnetworkN", NETUID) == 3


def test_epochs_follow_the_tempo() -> None:
    chain = new_chain(tempo_blocks=10)
    chain.tick(25)
    state = chain.state()
    assert (state.get("SubnetEpochIndex", NETUID), state.get("LastEpochBlock", NETUID)) == (2, 20)
    assert state.get("BlocksSinceLastStep", NETUID) == 5


def test_blocks_are_chained_and_told_of_once_until_stopped() -> None:
    chain, heard = new_chain(), []
    stop = chain.on_block(heard.append)
    threads = [threading.Thread(target=chain.tick, args=(20,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop()
    chain.tick()
    assert sorted(block.number for block in heard) == list(range(1, 81))
    for number in range(1, 82):
        assert chain.block_at(number).parent == chain.block_at(number - 1).hash
    stamps = [chain.state(chain.block_at(n).hash).get("Now", pallet="Timestamp") for n in range(1, 82)]
    assert stamps == sorted(set(stamps)), "time moves with every block"


@pytest.mark.parametrize(
    "config", [{"block_time_s": -1.0}, {"tempo_blocks": 0}, {"keep_blocks": 100}], ids=lambda config: next(iter(config))
)
def test_a_config_no_chain_can_run_is_an_error(config: dict[str, float]) -> None:
    with pytest.raises(DevnetError, match=next(iter(config))):
        ChainConfig(**config)


def test_neurons_must_be_there_once_with_real_addresses() -> None:
    with pytest.raises(DevnetError, match="at least one neuron"):
        DevnetChain(ChainConfig(), [])
    with pytest.raises(DevnetError, match="each hotkey once"):
        DevnetChain(ChainConfig(), [NEURONS[0], NEURONS[0]])
    with pytest.raises(DevnetError, match="'hotkey-1' is not an SS58 address"):
        DevnetChain(ChainConfig(), [NeuronSpec("hotkey-1", "coldkey-1")])

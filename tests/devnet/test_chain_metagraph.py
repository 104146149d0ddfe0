"""The metagraph of a full subnet: right under every runtime, quick, and computed once a block."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import bittensor_core
import pytest
from bittensor_core import ss58_encode

from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec
from loosh_pipeline.devnet.chain.inspection import inspect_chain
from loosh_pipeline.devnet.chain.runtime import RUNTIMES, RuntimeName
from tests.devnet.chain_client import NETUID, new_chain

METAGRAPH = "SubnetInfoRuntimeApi_get_metagraph"
NEURONS_LITE = "NeuronInfoRuntimeApi_get_neurons_lite"
SUBNET = NETUID.to_bytes(2, "little")
FULL = 256
LIMIT_S = 0.05


@cache
def full_subnet() -> tuple[NeuronSpec, ...]:
    addresses = [str(ss58_encode(uid.to_bytes(32, "big"), 42)) for uid in range(1, FULL + 1)]
    return tuple(
        NeuronSpec(address, address, ip=f"10.0.{uid // 250}.{uid % 250}", port=9000, stake_tao=uid + 1, permit=uid < 64)
        for uid, address in enumerate(addresses)
    )


def decoded(chain: DevnetChain, name: str) -> Any:
    """The answer as a client decodes it, by the metadata alone."""
    codec = bittensor_core.Runtime(chain.runtime.metadata_v15, chain.runtime.spec_version, 1, 42)
    api, method = name.split("_", 1)
    return codec.decode(codec.runtime_api_map()[api][method]["output"], chain.call_api(name, SUBNET), True)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_full_subnet_is_told_under_every_runtime(runtime: RuntimeName) -> None:
    neurons = full_subnet()
    chain = DevnetChain(ChainConfig(block_time_s=0.0, runtime=runtime), neurons)
    block = chain.replace_neuron(255, NeuronSpec(str(ss58_encode(bytes(32), 42)), neurons[0].coldkey, stake_tao=0.5))
    graph, lite = decoded(chain, METAGRAPH), decoded(chain, NEURONS_LITE)
    assert (graph["block"], graph["num_uids"], len(lite)) == (block.number, FULL, FULL)
    assert list(graph["hotkeys"][:255]) == [neuron.hotkey for neuron in neurons[:255]]
    assert [stake / 1e9 for stake in graph["total_stake"][-2:]] == [255, 0.5]
    assert (sum(graph["validator_permit"]), graph["axons"][254]["port"], graph["axons"][255]["port"]) == (64, 9000, 0)
    assert list(graph["block_at_registration"]) == [0] * 255 + [block.number]
    assert [(neuron["uid"], neuron["hotkey"]) for neuron in lite] == list(enumerate(graph["hotkeys"]))


def test_a_full_subnet_is_quick() -> None:
    chain = DevnetChain(ChainConfig(block_time_s=0.0), full_subnet())
    times: dict[str, list[float]] = {"metagraph": [], "block": [], "page": []}
    for _ in range(3):
        started = time.perf_counter()
        chain.tick()
        made = time.perf_counter()
        answer = chain.call_api(METAGRAPH, SUBNET)
        answered = time.perf_counter()
        inspect_chain(chain)
        shown = time.perf_counter()
        for name, spent in zip(times, (answered - made, made - started, shown - answered), strict=True):
            times[name].append(spent)
        assert chain.call_api(METAGRAPH, SUBNET) is answer, "computed once a block"
    assert {name: min(spent) < LIMIT_S for name, spent in times.items()} == dict.fromkeys(times, True), times


def test_an_answer_belongs_to_its_block() -> None:
    chain = new_chain()
    first = chain.tick()
    chain.set_parameters(rate_limit_blocks=77)
    then, now = chain.call_api(METAGRAPH, SUBNET, first.hash), chain.call_api(METAGRAPH, SUBNET)
    assert then != now
    assert decoded(chain, METAGRAPH)["weights_rate_limit"] == 77

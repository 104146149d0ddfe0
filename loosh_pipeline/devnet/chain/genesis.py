"""What a devnet starts from: its parameters, its neurons, and the storage of block 0."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO, RuntimeName
from loosh_pipeline.devnet.chain.state import MutableState
from loosh_pipeline.errors import DevnetError

CODE_KEY = b":code"
ACTIVITY_CUTOFF_FACTOR_MILLI = 13_889
"""Default of the runtime: the cutoff is this many thousandths of a tempo (5000 blocks at tempo 360)."""


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Parameters of the stand-in. Hyperparameters carry the names and meanings of the runtime.

    `block_time_s` 0 means that blocks are made by `DevnetChain.tick` alone. `keep_blocks` bounds memory: older
    blocks and states are discarded, as a pruning node does. `runtime="recorded"` serves a runtime older than the
    SDK expects.
    """

    netuid: int = 78
    block_time_s: float = 0.25
    tempo_blocks: int = 360
    rate_limit_blocks: int = 5
    commit_reveal: bool = False
    reveal_period_epochs: int = 1
    min_allowed_weights: int = 1
    max_weights_limit: int = 65_535
    weights_version_key: int = 0
    stake_threshold_tao: float = 0.0
    activity_cutoff_factor_milli: int = ACTIVITY_CUTOFF_FACTOR_MILLI
    keep_blocks: int = 4096
    runtime: RuntimeName = "current"

    def __post_init__(self) -> None:
        if self.block_time_s < 0:
            raise DevnetError(f"block_time_s is {self.block_time_s}; use 0 (manual) or more")
        if self.tempo_blocks < 1 or self.keep_blocks < 256:
            raise DevnetError(
                f"tempo_blocks is {self.tempo_blocks} and keep_blocks {self.keep_blocks}; "
                "use at least 1 and 256 (a transaction may refer to a block 128 back)"
            )


@dataclass(frozen=True, slots=True)
class NeuronSpec:
    """One registered neuron; its uid is its position. `ip` None: it serves nothing."""

    hotkey: str
    coldkey: str
    ip: str | None = None
    port: int = 0
    stake_tao: float = 1.0
    permit: bool = False

    def axon(self) -> dict[str, int] | None:
        """`AxonInfo` of the runtime; None when it serves nothing."""
        if self.ip is None:
            return None
        address = ipaddress.ip_address(self.ip)
        return {
            "block": 0,
            "version": 1,
            "ip": int(address),
            "port": self.port,
            "ip_type": address.version,
            "protocol": 4,
            "placeholder1": 0,
            "placeholder2": 0,
        }


def check_neurons(neurons: Sequence[NeuronSpec]) -> None:
    """Raises `DevnetError` for what a chain could not hold."""
    from bittensor_core import ss58_decode

    hotkeys = [neuron.hotkey for neuron in neurons]
    if not neurons or len(set(hotkeys)) != len(hotkeys):
        raise DevnetError(f"a devnet needs at least one neuron and each hotkey once, got {hotkeys}")
    for address in [*hotkeys, *(neuron.coldkey for neuron in neurons)]:
        try:
            ss58_decode(address)
        except ValueError as error:
            raise DevnetError(f"{address!r} is not an SS58 address") from error


def write_genesis(state: MutableState, config: ChainConfig, neurons: Sequence[NeuronSpec]) -> None:
    """Fill the storage of block 0."""
    # Nodes tell runtimes apart by their code; here the metadata stands for it, so that another runtime
    # is another chain, with another genesis hash, to every client cache.
    state.overlay.set_raw(CODE_KEY, state.runtime.code_hash)
    _write_hyperparameters(state, config)
    netuid, count = config.netuid, len(neurons)
    state.put("SubnetworkN", netuid, count)
    state.put("SubnetOwner", netuid, neurons[0].coldkey)
    state.put("ValidatorPermit", netuid, [neuron.permit for neuron in neurons])
    state.put("Active", netuid, [True] * count)
    state.put("LastUpdate", netuid, [0] * count)
    for uid, neuron in enumerate(neurons):
        _write_neuron(state, netuid, uid, neuron)


def _write_hyperparameters(state: MutableState, config: ChainConfig) -> None:
    netuid = config.netuid
    state.put("NetworksAdded", netuid, True)
    state.put("Tempo", netuid, config.tempo_blocks)
    state.put("WeightsSetRateLimit", netuid, config.rate_limit_blocks)
    state.put("CommitRevealWeightsEnabled", netuid, config.commit_reveal)
    state.put("RevealPeriodEpochs", netuid, config.reveal_period_epochs)
    state.put("MinAllowedWeights", netuid, config.min_allowed_weights)
    state.put("MaxWeightsLimit", netuid, config.max_weights_limit)
    state.put("WeightsVersionKey", netuid, config.weights_version_key)
    state.put("StakeThreshold", round(config.stake_threshold_tao * RAO_PER_TAO))
    state.put("ActivityCutoffFactorMilli", netuid, config.activity_cutoff_factor_milli)


def _write_neuron(state: MutableState, netuid: int, uid: int, neuron: NeuronSpec) -> None:
    state.put("Uids", netuid, neuron.hotkey, uid)
    state.put("Keys", netuid, uid, neuron.hotkey)
    state.put("Owner", neuron.hotkey, neuron.coldkey)
    state.put("TotalHotkeyAlpha", neuron.hotkey, netuid, round(neuron.stake_tao * RAO_PER_TAO))
    axon = neuron.axon()
    if axon is not None:
        state.put("Axons", netuid, neuron.hotkey, axon)

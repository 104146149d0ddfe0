"""What a devnet starts from: its parameters, and the storage of block 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loosh_pipeline.devnet.chain.parameters import HYPERPARAMETERS, put_parameters
from loosh_pipeline.devnet.chain.registration import NeuronSpec, write_neuron
from loosh_pipeline.devnet.chain.reveal import Pulse, known_pulses, put_pulse
from loosh_pipeline.devnet.chain.runtime import RuntimeName
from loosh_pipeline.devnet.chain.state import MutableState
from loosh_pipeline.errors import DevnetError

CODE_KEY = b":code"
_SALT_KEY = b":devnet-salt"
ACTIVITY_CUTOFF_FACTOR_MILLI = 13_889
"""Default of the runtime: the cutoff is this many thousandths of a tempo (5000 blocks at tempo 360)."""


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Parameters of the stand-in. Hyperparameters carry the names and meanings of the runtime.

    `block_time_s` 0 means that blocks are made by `DevnetChain.tick` alone. `keep_blocks` bounds memory: older
    blocks and states are discarded, as a pruning node does. A block is final `finality_lag_blocks` after it was made.
    `runtime="recorded"` and `"recorded439"` serve runtimes older than the SDK expects. `pulses` are the rounds of the
    drand beacon the chain holds from the start. `pool_validates`: the pool refuses what newer runtimes check before a
    transaction gets into a block (`validity`). `salt` makes a chain another than one of the same parameters.
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
    serving_rate_limit_blocks: int = 50
    finality_lag_blocks: int = 0
    pulses: tuple[Pulse, ...] = field(default_factory=known_pulses)
    pool_validates: bool = False
    salt: bytes = b""

    def __post_init__(self) -> None:
        if self.block_time_s < 0:
            raise DevnetError(f"block_time_s is {self.block_time_s}; use 0 (manual) or more")
        if self.tempo_blocks < 1 or self.keep_blocks < 256:
            raise DevnetError(
                f"tempo_blocks is {self.tempo_blocks} and keep_blocks {self.keep_blocks}; "
                "use at least 1 and 256 (a transaction may refer to a block 128 back)"
            )
        if not 0 <= self.finality_lag_blocks < self.keep_blocks:
            raise DevnetError(f"finality_lag_blocks is {self.finality_lag_blocks}; use 0 to {self.keep_blocks - 1}")


def write_genesis(state: MutableState, config: ChainConfig, neurons: Sequence[NeuronSpec]) -> None:
    """Fill the storage of block 0."""
    # Nodes tell runtimes apart by their code; here the metadata stands for it, so that another runtime
    # is another chain, with another genesis hash, to every client cache.
    state.overlay.set_raw(CODE_KEY, state.runtime.code_hash)
    if config.salt:
        state.overlay.set_raw(_SALT_KEY, config.salt)
    netuid, count = config.netuid, len(neurons)
    state.put("NetworksAdded", netuid, True)
    put_parameters(state, netuid, {name: getattr(config, name) for name in HYPERPARAMETERS})
    state.put("SubnetworkN", netuid, count)
    state.put("SubnetOwner", netuid, neurons[0].coldkey)
    state.put("ValidatorPermit", netuid, [neuron.permit for neuron in neurons])
    state.put("Active", netuid, [True] * count)
    state.put("LastUpdate", netuid, [0] * count)
    for uid, neuron in enumerate(neurons):
        write_neuron(state, netuid, uid, neuron, block=0)
    for pulse in config.pulses:
        put_pulse(state, pulse)

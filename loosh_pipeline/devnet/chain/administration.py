"""The chain stand-in with what a subnet's owner and the network do to it while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loosh_pipeline.devnet.chain.calls import Event
from loosh_pipeline.devnet.chain.genesis import CODE_KEY
from loosh_pipeline.devnet.chain.ledger import Block
from loosh_pipeline.devnet.chain.node import Node
from loosh_pipeline.devnet.chain.parameters import change_parameters, check_names
from loosh_pipeline.devnet.chain.registration import NeuronSpec, check_addresses, replace_neuron, require_uid
from loosh_pipeline.devnet.chain.reveal import Pulse, put_pulse
from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO, RUNTIMES, SPEC_VERSIONS, RuntimeName, load_runtime
from loosh_pipeline.devnet.chain.state import MutableState
from loosh_pipeline.errors import DevnetError


class DevnetChain(Node):
    """A subnet's chain in memory. `faults` are its switches; each method here makes one block and returns it.

    While the fault `stale_head` is on there are no blocks, and what was asked for happens in the next one.
    """

    def replace_neuron(self, uid: int, neuron: NeuronSpec) -> Block:
        """Give a uid to somebody else. Raises `DevnetError` for a uid nobody has, or a hotkey that has one."""
        check_addresses([neuron.hotkey, neuron.coldkey])

        def change(state: MutableState, block: int) -> list[Event]:
            replace_neuron(state, self.config.netuid, uid, neuron, block)
            return []

        return self.administer(change)

    def set_parameters(self, **values: Any) -> Block:
        """Change hyperparameters, by the names of `ChainConfig`: `set_parameters(commit_reveal=True)`.

        Raises `DevnetError` for a name that is none of them, or a value a chain cannot hold.
        """
        check_names(values)
        replace(self.config, **values)  # raises for what no chain can run

        def change(state: MutableState, block: int) -> list[Event]:
            change_parameters(state, self.config.netuid, block, values)
            return []

        return self.administer(change)

    def set_standing(self, uid: int, *, permit: bool | None = None, stake_tao: float | None = None) -> Block:
        """Give or take a validator permit, or change a stake. Raises `DevnetError` for a uid nobody has."""
        netuid = self.config.netuid

        def change(state: MutableState, block: int) -> list[Event]:
            hotkey = require_uid(state, netuid, uid)
            if permit is not None:
                state.put_element("ValidatorPermit", netuid, uid, permit)
            if stake_tao is not None:
                state.put("TotalHotkeyAlpha", hotkey, netuid, round(stake_tao * RAO_PER_TAO))
            return []

        return self.administer(change)

    def trigger_epoch(self, in_blocks: int = 1) -> Block:
        """Ask for an epoch so many blocks after the one that is made now, whatever the tempo says."""
        if in_blocks < 1:
            raise DevnetError(f"an epoch cannot start in {in_blocks} blocks; give 1 or more")

        def change(state: MutableState, block: int) -> list[Event]:
            state.put("PendingEpochAt", self.config.netuid, block + in_blocks)
            return []

        return self.administer(change)

    def add_pulse(self, pulse: Pulse) -> Block:
        """Let the chain hold one more round of the drand beacon."""

        def change(state: MutableState, block: int) -> list[Event]:
            put_pulse(state, pulse)
            return []

        return self.administer(change)

    def upgrade(self, name: RuntimeName) -> Block:
        """Switch to a newer runtime; the block after the one returned is the first that it executes.

        As on a real chain the spec version always grows: `current` is 461 from the start of a chain, but 462 after an
        upgrade from `recorded`. Raises `DevnetError` for a runtime that is not newer.
        """
        with self.lock:
            now = self.runtime
            if name not in RUNTIMES or RUNTIMES.index(name) <= RUNTIMES.index(now.name):
                raise DevnetError(f"{name!r} is no runtime newer than {now.name!r}; from old to new: {RUNTIMES}")
            runtime = load_runtime(name, max(SPEC_VERSIONS[name], now.spec_version + 1))
            self.adopt(runtime)

            def change(state: MutableState, block: int) -> list[Event]:
                state.overlay.set_raw(CODE_KEY, runtime.code_hash)
                return [{"System": {"CodeUpdated": {}}}]

            return self.administer(change)

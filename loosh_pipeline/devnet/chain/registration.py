"""Neurons: how they are registered at genesis, and how a uid goes to another one while the chain runs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loosh_pipeline.devnet.chain.runtime import RAO_PER_TAO
from loosh_pipeline.devnet.chain.state import MutableState, State
from loosh_pipeline.errors import DevnetError


@dataclass(frozen=True, slots=True)
class NeuronSpec:
    """One registered neuron; its uid is its position. `ip` None: it serves nothing."""

    hotkey: str
    coldkey: str
    ip: str | None = None
    port: int = 0
    stake_tao: float = 1.0
    permit: bool = False

    def axon(self, block: int = 0) -> dict[str, int] | None:
        """`AxonInfo` of the runtime, announced at a block; None when it serves nothing."""
        if self.ip is None:
            return None
        address = ipaddress.ip_address(self.ip)
        return {
            "block": block,
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
    hotkeys = [neuron.hotkey for neuron in neurons]
    if not neurons or len(set(hotkeys)) != len(hotkeys):
        raise DevnetError(f"a devnet needs at least one neuron and each hotkey once, got {hotkeys}")
    check_addresses([*hotkeys, *(neuron.coldkey for neuron in neurons)])


def check_addresses(addresses: Iterable[str]) -> None:
    """Raises `DevnetError` for the first that is none."""
    from bittensor_core import ss58_decode

    for address in addresses:
        try:
            ss58_decode(address)
        except ValueError as error:
            raise DevnetError(f"{address!r} is not an SS58 address") from error


def write_neuron(state: MutableState, netuid: int, uid: int, neuron: NeuronSpec, block: int) -> None:
    """What the chain holds of a neuron by its uid and by its keys; the lists of all neurons are left alone."""
    state.put("Uids", netuid, neuron.hotkey, uid)
    state.put("Keys", netuid, uid, neuron.hotkey)
    state.put("Owner", neuron.hotkey, neuron.coldkey)
    state.put("IsNetworkMember", neuron.hotkey, netuid, True)
    state.put("TotalHotkeyAlpha", neuron.hotkey, netuid, round(neuron.stake_tao * RAO_PER_TAO))
    state.put("BlockAtRegistration", netuid, uid, block)
    axon = neuron.axon(block)
    if axon is not None:
        state.put("Axons", netuid, neuron.hotkey, axon)


def require_uid(state: State, netuid: int, uid: int) -> str:
    """The hotkey at a uid. Raises `DevnetError` for a uid nobody has."""
    count = state.get("SubnetworkN", netuid)
    if not 0 <= uid < count:
        raise DevnetError(f"uid {uid} is not registered on subnet {netuid}; uids go from 0 to {count - 1}")
    return str(state.get("Keys", netuid, uid))


def replace_neuron(state: MutableState, netuid: int, uid: int, neuron: NeuronSpec, block: int) -> None:
    """Give a uid to a new neuron, as the pallet does when somebody registers on a full subnet.

    The old hotkey loses uid, axon and membership, not its stake. The uid's own weights go, weights on it become 0 in
    every row, and its last update is the block of the registration. Raises `DevnetError` for a uid nobody has, or a
    hotkey that is registered already.
    """
    old = require_uid(state, netuid, uid)
    if state.get("Uids", netuid, neuron.hotkey) is not None:
        raise DevnetError(f"{neuron.hotkey} is registered on subnet {netuid} already; give a new hotkey")
    state.put_raw("Uids", netuid, old, None)
    state.put_raw("IsNetworkMember", old, netuid, None)
    state.put_raw("Axons", netuid, old, None)
    write_neuron(state, netuid, uid, neuron, block)
    for item, value in {"Active": True, "ValidatorPermit": neuron.permit, "LastUpdate": block}.items():
        state.put_element(item, netuid, uid, value)
    state.put_raw("Weights", netuid, uid, None)
    for other in range(state.get("SubnetworkN", netuid)):
        row = state.get("Weights", netuid, other)
        if any(dest == uid for dest, _ in row):
            state.put("Weights", netuid, other, [(dest, 0 if dest == uid else weight) for dest, weight in row])

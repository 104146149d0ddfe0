"""Which hotkeys belong together: those that share a coldkey or an address, directly or through others."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from loosh_pipeline.domain import Hotkey, Neuron


def address_of(ip: str | None) -> str | None:
    """What an address says of its owner: itself, of IPv6 the /64; None for one that is not public, and says nothing."""
    if not ip:
        return None
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False)) if address.is_global else None
        address = address.ipv4_mapped
    return str(address) if address.is_global else None


def entities_of(neurons: Iterable[Neuron]) -> dict[Hotkey, Hotkey]:
    """The entity of every hotkey, named by its first member."""
    parent: dict[str, str] = {}

    def root(of: str) -> str:
        while parent.setdefault(of, of) != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    neurons = sorted(neurons, key=lambda neuron: neuron.hotkey)
    for neuron in neurons:
        for mark in marks_of(neuron):
            parent[root(mark)] = root(neuron.hotkey)
    names: dict[str, Hotkey] = {}
    return {neuron.hotkey: names.setdefault(root(neuron.hotkey), neuron.hotkey) for neuron in neurons}


def marks_of(neuron: Neuron) -> list[str]:
    """What ties a neuron to others, in words."""
    address = address_of(neuron.ip)
    return [f"coldkey {neuron.coldkey}"] * bool(neuron.coldkey) + [f"address {address}"] * (address is not None)

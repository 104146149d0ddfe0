"""Which hotkeys belong together: those that share a coldkey or an address, directly or through others.

Coldkeys are vouched for by the chain. An address is announced by whoever likes, so it counts only where it was proved
by an answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from loosh_pipeline.domain import Hotkey, Neuron

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Gateways take the last 32 bits of such an address for one of IPv4."""
IPV6_SITE = 48
"""Bits of IPv6 that a customer of a network has in common, whatever of it is given to one machine."""


def address_of(ip: str | None) -> str | None:
    """What an address says of its owner: itself, of IPv6 the /48; None for one that is not public, and says nothing.

    IPv4 within IPv6 is that address. IPv4 is not joined by networks: strangers are customers of the same hosters.
    """
    if not ip:
        return None
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if (within := _ipv4_within(address)) is None:
            return str(ipaddress.ip_network((int(address), IPV6_SITE), strict=False)) if address.is_global else None
        address = within
    return str(address) if address.is_global else None


def _ipv4_within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that one of IPv6 stands for: mapped, tunnelled (6to4) or translated (NAT64)."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def entities_of(neurons: Iterable[Neuron], proved: Mapping[Hotkey, str]) -> dict[Hotkey, Hotkey]:
    """The entity of every hotkey, named by its first member. `proved`: addresses at which hotkeys answered."""
    parent: dict[str, str] = {}

    def root(of: str) -> str:
        while parent.setdefault(of, of) != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    neurons = sorted(neurons, key=lambda neuron: neuron.hotkey)
    for neuron in neurons:
        for mark in marks_of(neuron, proved):
            parent[root(mark)] = root(neuron.hotkey)
    names: dict[str, Hotkey] = {}
    return {neuron.hotkey: names.setdefault(root(neuron.hotkey), neuron.hotkey) for neuron in neurons}


def marks_of(neuron: Neuron, proved: Mapping[Hotkey, str]) -> list[str]:
    """What ties a neuron to others, in words."""
    address = address_of(proved.get(neuron.hotkey))
    return [f"coldkey {neuron.coldkey}"] * bool(neuron.coldkey) + [f"address {address}"] * (address is not None)

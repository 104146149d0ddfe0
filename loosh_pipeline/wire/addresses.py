"""Where a neuron may be asked: only public unicast addresses, unless the subnet is one's own.

Addresses come from the chain, where anyone may write anything: without this check a registered stranger
could make the validator send requests into its own network.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from loosh_pipeline.errors import WireError

_Address = IPv4Address | IPv6Address

LOCALHOST_ALIAS = IPv4Address("0.0.0.1")
"""Stands for localhost on the chain, which refuses 127.0.0.1; honoured on private networks only."""

_REFUSED = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments, some of them reachable
            "192.88.99.0/24",  # once relays of 6to4
            "198.18.0.0/15",  # benchmarks
            "64:ff9b::/96",  # gateways forward it to whatever IPv4 address it holds, as they do the next two
            "64:ff9b:1::/48",
            "2002::/16",
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation, as the next one
            "3fff::/20",
            "5f00::/16",  # segments of routes within a network
            "fec0::/10",  # once the addresses of a site
        ),
    )
)
"""Not public whatever `is_global` says: the tables behind that differ between versions of Python."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server listens: the text of an IP address, and a port."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Where neurons may be asked.

    `own_ips` are addresses of this validator that the machine itself does not know, such as the public one in front
    of it, in canonical form; those of its interfaces are recognised. `own_ports` are where its processes listen: on a
    subnet of one's own (`allow_private`) miners may live on this machine, beside them.
    """

    allow_private: bool = False
    own_ips: frozenset[str] = frozenset()
    own_ports: frozenset[int] = frozenset()

    def endpoint(self, ip: str | None, port: int) -> Endpoint:
        """Where a neuron may be asked. `ip` is dotted, IPv6 text, or the integer of either in decimal.

        Raises WireError when there is no address, it may not be asked, or the port is out of range.
        """
        if not 1 <= port <= 65535:
            raise WireError(f"port {port} is not between 1 and 65535")
        address = _parse(ip)
        if self.allow_private and address == LOCALHOST_ALIAS:
            address = IPv4Address("127.0.0.1")
        if not (_is_public(address) or (self.allow_private and _is_own_network(address))):
            raise WireError(f"address {address} is not a public unicast address")
        if self._is_this_validator(address, port):
            raise WireError(f"address {address}, port {port} is this validator's own")
        return Endpoint(str(address), port)

    def _is_this_validator(self, address: _Address, port: int) -> bool:
        if str(address) not in self.own_ips and not is_this_machine(address):
            return False
        return port in self.own_ports or _is_public(address) or not self.allow_private


def announceable(ip: str, port: int, *, allow_private: bool) -> Endpoint:
    """Where others may reach a server of ours. Raises WireError for what is no address that they can reach."""
    if not 1 <= port <= 65535:
        raise WireError(f"port {port} is not between 1 and 65535")
    address = _parse(ip)
    if _is_public(address) or (allow_private and _is_own_network(address)):
        return Endpoint(str(address), port)
    raise WireError(
        f"address {address} cannot be reached from elsewhere; give the public one (on a devnet, "
        "ALLOW_PRIVATE_ADDRESSES=true allows others)"
    )


def canonical_ip(ip: str | None) -> str | None:
    """The text that all spellings of one address share; None when it is none."""
    try:
        return str(_parse(ip))
    except WireError:
        return None


def is_this_machine(address: _Address) -> bool:
    """Whether packets to `address` stay on this machine: the system would send them from that very address.

    Nothing is sent. An address without a route is not this machine's.
    """
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False


def _parse(ip: str | None) -> _Address:
    text = (ip or "").strip()
    try:
        address = ip_address(int(text) if text.isdecimal() and len(text) <= 39 else text)
    except ValueError as error:
        raise WireError(f"address {text[:64]!r} is not an IP address") from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise WireError(f"address {text[:64]!r} has a scope, which only this machine understands")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _is_public(address: _Address) -> bool:
    if any(address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_own_network(address: _Address) -> bool:
    usable = not (address.is_link_local or address.is_multicast or address.is_unspecified)
    return address.is_loopback or (address.is_private and usable and not address.is_reserved)

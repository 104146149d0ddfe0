"""Where a neuron may be asked: only public unicast addresses, unless the subnet is one's own.

Addresses come from the chain, where anyone may write anything: without this check a registered stranger
could make the validator send requests into its own network.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from loosh_pipeline.errors import WireError

_Address = IPv4Address | IPv6Address

LOCALHOST_ALIAS = IPv4Address("0.0.0.1")
"""Stands for localhost on the chain, which refuses 127.0.0.1; honoured on private networks only."""

_NAT64 = IPv6Network("64:ff9b::/96")


def miner_url(ip: str | None, port: int, *, allow_private: bool) -> str:
    """`http://ip:port` of a neuron. `ip` is dotted, IPv6 text, or the integer of either in decimal.

    Raises WireError when there is no address, it may not be asked, or the port is out of range.
    """
    if not 1 <= port <= 65535:
        raise WireError(f"port {port} is not between 1 and 65535")
    address = _parse(ip)
    if allow_private and address == LOCALHOST_ALIAS:
        address = IPv4Address("127.0.0.1")
    if not (_is_public(address) or (allow_private and _is_own(address))):
        raise WireError(f"address {address} is not a public unicast address")
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}"


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
    if isinstance(address, IPv6Address) and (address.sixtofour or address in _NAT64):
        return False  # a gateway would forward it to whatever IPv4 address it holds
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_own(address: _Address) -> bool:
    usable = not (address.is_link_local or address.is_multicast or address.is_unspecified)
    return address.is_loopback or (address.is_private and usable and not address.is_reserved)

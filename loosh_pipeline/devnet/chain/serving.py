"""`serve_axon`: a neuron announces where it listens. Checks in the order of the pallet's `serving.rs`."""

from __future__ import annotations

import ipaddress

from loosh_pipeline.devnet.chain.calls import Call, Event, require
from loosh_pipeline.devnet.chain.state import SUBTENSOR, MutableState, State

_FIELDS = ("version", "ip", "port", "ip_type", "protocol", "placeholder1", "placeholder2")
_LAST_IPV4 = int(ipaddress.IPv4Address("255.255.255.255"))
_LAST_IPV6 = 2**128 - 1
_LOOPBACK = {4: int(ipaddress.IPv4Address("127.0.0.1")), 6: 1}


def serve_axon(state: MutableState, call: Call) -> list[Event]:
    """Store the address of a registered hotkey. As on the real chain, 127.0.0.1 is none, and 0 takes it back."""
    netuid, args = call.args["netuid"], call.args
    require(bool(state.get("NetworksAdded", netuid)), "SubnetNotExists")
    require(state.get("Uids", netuid, call.signer) is not None, "HotKeyNotRegisteredInNetwork")
    require(args["ip_type"] in (4, 6), "InvalidIpType")
    require(_is_address(args["ip_type"], args["ip"]), "InvalidIpAddress")
    require(_rate_limit_passed(state, netuid, call), "ServingRateLimitExceeded")
    require(args["port"] != 0, "InvalidPort")
    state.put("Axons", netuid, call.signer, {"block": call.block, **{name: args[name] for name in _FIELDS}})
    return [{SUBTENSOR: {"AxonServed": [netuid, call.signer]}}]


def _is_address(ip_type: int, ip: int) -> bool:
    last = _LAST_IPV4 if ip_type == 4 else _LAST_IPV6
    return ip < last and ip != _LOOPBACK[ip_type]


def _rate_limit_passed(state: State, netuid: int, call: Call) -> bool:
    axon, limit = state.get("Axons", netuid, call.signer), state.get("ServingRateLimit", netuid)
    return not axon or axon["block"] == 0 or call.block - axon["block"] >= limit

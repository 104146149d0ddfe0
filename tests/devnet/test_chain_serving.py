"""A neuron announces its address: the checks of the pallet, in their order."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from bittensor_core import Keypair

from tests.devnet.chain_client import IDLE, NETUID, OUTSIDER, VALIDATOR, events, execute, new_chain, serve_call


def test_an_address_is_announced_and_announced_again_after_a_while() -> None:
    chain = new_chain(serving_rate_limit_blocks=3)
    assert execute(chain, serve_call()) == "ExtrinsicSuccess"
    assert ("ApplyExtrinsic", "AxonServed") in events(chain)
    axon = chain.state().get("Axons", NETUID, VALIDATOR.ss58_address)
    assert (ipaddress.ip_address(axon["ip"]), axon["port"], axon["block"]) == (
        ipaddress.ip_address("203.0.113.7"),
        8091,
        1,
    )
    assert execute(chain, serve_call(port=8092)) == "ServingRateLimitExceeded"
    chain.tick()
    assert execute(chain, serve_call("2001:db8::7", ip_type=6)) == "ExtrinsicSuccess"
    assert list(chain.state().get("LastUpdate", NETUID)) == [0, 0, 0], "it is no update of weights"


@pytest.mark.parametrize(
    ("error", "keypair", "ip", "changes"),
    [
        ("SubnetNotExists", OUTSIDER, 0, {"netuid": 5}),
        ("HotKeyNotRegisteredInNetwork", OUTSIDER, 0, {"ip_type": 5}),
        ("InvalidIpType", IDLE, "127.0.0.1", {"ip_type": 5}),
        ("InvalidIpAddress", IDLE, "127.0.0.1", {"port": 0}),
        ("InvalidIpAddress", IDLE, "::1", {"ip_type": 6}),
        ("InvalidIpAddress", IDLE, "255.255.255.255", {}),
        ("InvalidIpAddress", IDLE, "2001:db8::7", {}),
        ("InvalidPort", IDLE, "203.0.113.7", {"port": 0}),
    ],
)
def test_what_is_no_address_is_refused(error: str, keypair: Keypair, ip: str | int, changes: dict[str, Any]) -> None:
    chain = new_chain()
    assert execute(chain, serve_call(ip, **changes), keypair) == error
    assert chain.state().get("Axons", NETUID, keypair.ss58_address) is None

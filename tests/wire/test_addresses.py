"""Which addresses from the chain may be asked."""

from __future__ import annotations

import ipaddress

import pytest

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.addresses import miner_url

PRIVATE = ["127.0.0.1", "10.0.0.1", "172.16.0.9", "192.168.1.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
NEVER = [
    "0.0.0.0",
    "0",
    "",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "ff0e::1",
    "fe80::1",
    "fe80::1%eth0",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "::ffff:169.254.169.254",
    "localhost",
    "example.org",
    "127.0.0.1:80",
    "1" * 40,
    "-1",
]


@pytest.mark.parametrize(
    ("ip", "url"),
    [
        ("100.40.6.206", "http://100.40.6.206:8091"),
        (str(int(ipaddress.ip_address("100.40.6.206"))), "http://100.40.6.206:8091"),
        ("2a01:4f8::1", "http://[2a01:4f8::1]:8091"),
        (str(int(ipaddress.ip_address("2a01:4f8::1"))), "http://[2a01:4f8::1]:8091"),
        ("::ffff:8.8.8.8", "http://8.8.8.8:8091"),
    ],
)
@pytest.mark.parametrize("allow_private", [True, False])
def test_public_addresses(ip: str, url: str, allow_private: bool) -> None:
    assert miner_url(ip, 8091, allow_private=allow_private) == url


@pytest.mark.parametrize("ip", [*PRIVATE, "0.0.0.1", "1", "100.64.0.1", *NEVER])
def test_others_are_refused(ip: str) -> None:
    with pytest.raises(WireError, match="address"):
        miner_url(ip, 8091, allow_private=False)


@pytest.mark.parametrize("ip", PRIVATE)
def test_own_network_on_request(ip: str) -> None:
    assert miner_url(ip, 8091, allow_private=True).endswith(":8091")


@pytest.mark.parametrize("ip", NEVER)
def test_some_are_refused_even_then(ip: str) -> None:
    with pytest.raises(WireError, match="address"):
        miner_url(ip, 8091, allow_private=True)


@pytest.mark.parametrize("ip", ["0.0.0.1", "1"])
def test_localhost_alias(ip: str) -> None:
    assert miner_url(ip, 8091, allow_private=True) == "http://127.0.0.1:8091"


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_ports_out_of_range(port: int) -> None:
    with pytest.raises(WireError, match="port"):
        miner_url("100.40.6.206", port, allow_private=True)


def test_no_address() -> None:
    with pytest.raises(WireError, match="address"):
        miner_url(None, 8091, allow_private=True)

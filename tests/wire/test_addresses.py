"""Which addresses from the chain may be asked."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire import addresses
from loosh_pipeline.wire.addresses import AddressRules, canonical_ip, is_this_machine

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


def miner_url(ip: str | None, port: int, *, allow_private: bool) -> str:
    return AddressRules(allow_private).endpoint(ip, port).url


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


ELSEWHERE = ["192.0.0.8", "192.0.0.9", "192.0.0.170", "192.88.99.1", "198.18.0.1", "fec0::1", "feff::1", "3fff::1"]
ELSEWHERE += ["64:ff9b:1::7f00:1", "2001::1", "2001:20::1", "2001:db8::1", "5f00::1"]


@pytest.mark.parametrize("ip", ELSEWHERE)
def test_w_7_what_is_public_to_some_versions_of_python_only_is_refused_under_all(
    ip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
    with pytest.raises(WireError, match="not a public"):
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


def own_addresses() -> list[str]:
    """Addresses of this machine's interfaces beside loopback, as far as it has routes."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect((elsewhere, 9))
            found.append(probe.getsockname()[0])
    return found


def test_this_machine_knows_itself() -> None:
    for ip in (*own_addresses(), "127.0.0.1", "127.1.2.3", "::1"):
        assert is_this_machine(ipaddress.ip_address(ip)), ip
    for ip in ("100.40.6.206", "2a01:4f8::1"):
        assert not is_this_machine(ipaddress.ip_address(ip)), ip


def test_w_7_the_public_address_of_the_validator_is_never_asked() -> None:
    for allow_private in (True, False):
        rules = AddressRules(allow_private, own_ips=frozenset({"100.40.6.206"}))
        with pytest.raises(WireError, match="own"):
            rules.endpoint("100.40.6.206", 8091)
        with pytest.raises(WireError, match="own"):
            rules.endpoint(str(int(ipaddress.ip_address("100.40.6.206"))), 8091)
        assert rules.endpoint("100.40.6.207", 8091).url == "http://100.40.6.207:8091"


def test_w_7_an_interface_of_this_machine_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_this_machine", lambda address: str(address) == "100.40.6.206")
    with pytest.raises(WireError, match="own"):
        AddressRules().endpoint("100.40.6.206", 8091)


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.1.2.3", "::1", "0.0.0.1", "::ffff:127.0.0.1", *own_addresses()])
def test_w_7_on_a_devnet_the_validators_own_ports_are_not_asked(ip: str) -> None:
    rules = AddressRules(allow_private=True, own_ports=frozenset({8000, 3000}))
    for port in rules.own_ports:
        with pytest.raises(WireError, match=r"own|not a public"):
            rules.endpoint(ip, port)
    if ip not in own_addresses():  # which may be public
        assert rules.endpoint(ip, 9100).port == 9100


def test_spellings_of_one_address_are_one() -> None:
    decimal = str(int(ipaddress.ip_address("100.40.6.206")))
    spellings = ("100.40.6.206", decimal, "::ffff:100.40.6.206", " 100.40.6.206 ")
    assert {canonical_ip(ip) for ip in spellings} == {"100.40.6.206"}
    assert canonical_ip("2A01:04f8::0001") == "2a01:4f8::1"
    assert canonical_ip("nowhere") is canonical_ip(None) is None


@given(st.none() | st.text(max_size=50) | st.integers().map(str), st.integers(-(2**40), 2**40), st.booleans())
def test_any_address_of_the_chain_is_asked_or_refused(ip: str | None, port: int, allow_private: bool) -> None:
    with contextlib.suppress(WireError):
        endpoint = AddressRules(allow_private).endpoint(ip, port)
        assert ipaddress.ip_address(endpoint.host).is_global or allow_private

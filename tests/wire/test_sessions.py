"""The server side of the handshake: who gets a session, and what is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, new_symmetric_key
from loosh_pipeline.wire.messages import (
    KeyExchange,
    build_api_key_exchange,
    build_miner_key_exchange,
    parse_api_key_exchange,
    parse_miner_key_exchange,
)
from loosh_pipeline.wire.sessions import HandshakeServer, NonceMemory, SessionKeys
from tests.wire.peers import VALIDATOR, rsa_key

KEY = new_symmetric_key()
HOTKEY = Hotkey(VALIDATOR.ss58_address)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.5

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> HandshakeServer:
    return HandshakeServer(private_key=rsa_key(), clock=clock)


def exchange(server: HandshakeServer, clock: Clock, nonce: str = "n-1", key_uuid: str = "u-1") -> KeyExchange:
    ciphertext = encrypt_symmetric_key(load_public_key(server.public_pem), KEY)
    body = build_miner_key_exchange(VALIDATOR, "miner", key_uuid, ciphertext, timestamp_s=clock.now_s, nonce=nonce)
    return parse_miner_key_exchange(encode_json(body))


def test_session_opens_and_expires(server: HandshakeServer, clock: Clock) -> None:
    server.open_session(exchange(server, clock))
    assert server.session_key(HOTKEY, "u-1") == KEY
    assert server.session_key(HOTKEY, "u-2") is None
    assert server.session_key("someone", "u-1") is None
    clock.now_s += 3600
    assert server.session_key(HOTKEY, "u-1") is None


def test_the_other_dialect_opens_the_same_session(server: HandshakeServer, clock: Clock) -> None:
    ciphertext = encrypt_symmetric_key(load_public_key(server.public_pem), KEY)
    body = build_api_key_exchange(VALIDATOR, "u-1", ciphertext, timestamp_s=clock.now_s)
    parsed = parse_api_key_exchange(encode_json(body))
    server.open_session(parsed)
    assert server.session_key(HOTKEY, "u-1") == KEY
    with pytest.raises(CryptoError, match="used before"):
        server.open_session(parsed)


def test_replay_is_refused_for_as_long_as_the_timestamp_is_good(server: HandshakeServer, clock: Clock) -> None:
    first = exchange(server, clock)
    clock.now_s -= 59  # the client's clock is ahead
    server.open_session(first)
    for _ in range(2):
        with pytest.raises(CryptoError, match="used before"):
            server.open_session(first)
        clock.now_s += 118
    clock.now_s += 2
    with pytest.raises(CryptoError, match="timestamp"):
        server.open_session(first)


@pytest.mark.parametrize("skew_s", [-61, 61, 1_000_000])
def test_stale_and_future_timestamps_are_refused(server: HandshakeServer, clock: Clock, skew_s: float) -> None:
    stale = exchange(server, clock)
    clock.now_s += skew_s
    with pytest.raises(CryptoError, match="timestamp"):
        server.open_session(stale)


def test_nonce_of_an_unverified_exchange_is_not_remembered(server: HandshakeServer, clock: Clock) -> None:
    genuine = exchange(server, clock)
    with pytest.raises(CryptoError, match="signature"):
        server.open_session(replace(genuine, signature=bytes(64)))
    server.open_session(genuine)
    assert server.session_key(HOTKEY, "u-1") == KEY


def test_key_for_another_server_is_refused(server: HandshakeServer, clock: Clock) -> None:
    other = HandshakeServer(private_key=rsa_key(1), clock=clock)
    with pytest.raises(CryptoError, match="another public key"):
        other.open_session(exchange(server, clock))
    assert len(other.keys) == 0


def test_nonce_memory_is_bounded_and_refuses_rather_than_forgets() -> None:
    nonces = NonceMemory(max_entries=3)
    for number in range(3):
        nonces.use("hk", str(number), now_s=0, alive_until_s=10 + number)
    with pytest.raises(CryptoError, match="in use"):
        nonces.use("hk", "3", now_s=5, alive_until_s=15)
    with pytest.raises(CryptoError, match="used before"):
        nonces.use("hk", "0", now_s=5, alive_until_s=15)
    nonces.use("hk", "3", now_s=10, alive_until_s=20)
    assert len(nonces) == 3


def test_nonces_of_different_hotkeys_do_not_meet() -> None:
    nonces = NonceMemory()
    nonces.use("hk-1", "n", now_s=0, alive_until_s=10)
    nonces.use("hk-2", "n", now_s=0, alive_until_s=10)
    assert len(nonces) == 2


def test_session_keys_are_bounded() -> None:
    keys = SessionKeys(ttl_s=100, max_per_hotkey=2, max_total=3)
    for number in range(3):
        keys.put(Hotkey("a"), f"u-{number}", KEY, now_s=0)
    assert keys.get("a", "u-0", now_s=1) is None
    assert keys.get("a", "u-2", now_s=1) == KEY
    keys.put(Hotkey("b"), "u-0", KEY, now_s=1)
    keys.put(Hotkey("c"), "u-0", KEY, now_s=1)
    assert len(keys) == 3
    assert keys.hotkeys == {"a", "b", "c"}
    keys.put(Hotkey("d"), "u-0", KEY, now_s=101)
    assert keys.hotkeys == {"d"}

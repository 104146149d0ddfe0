"""The signature headers of plain calls."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.headers import signature_headers, signed_text, verify_signature_headers
from tests.wire.peers import STRANGER, VALIDATOR

BODY = b'{"miner_hotkeys": ["a"]}'
NOW_S = 1733011200.5
VECTOR = httpx.Headers(
    {
        "X-Hotkey": VALIDATOR.ss58_address,
        "X-Nonce": "1733011200.5",
        "X-Signature": "0xd4e14a560e212dc281fed2c5702dcc6991d5dfbdc568330f453b8be0e4e3fa664ae652e0cf23232a531e846b622e"
        "c0fac2d0dbeb45ac4b9ba6978f1ada30ba8f",
    }
)


def test_vector_is_accepted() -> None:
    assert hashlib.sha256(BODY).hexdigest().startswith("b1c09642ecaea765")
    call = verify_signature_headers(VECTOR, BODY, now_s=NOW_S, window_s=30)
    assert (call.hotkey, call.nonce) == (VALIDATOR.ss58_address, "1733011200.5")


def test_text_with_and_without_a_body() -> None:
    assert signed_text("1.5", "hk", None) == b"1.5:hk"
    assert signed_text("1.5", "hk", b"") == b"1.5:hk"
    assert signed_text("1.5", "hk", b"x") == b"1.5:hk:" + hashlib.sha256(b"x").hexdigest().encode()


@pytest.mark.parametrize("body", [None, BODY])
def test_round_trip(body: bytes | None) -> None:
    headers = httpx.Headers(signature_headers(VALIDATOR, body, now_s=NOW_S))
    assert verify_signature_headers(headers, body, now_s=NOW_S + 20, window_s=30).hotkey == VALIDATOR.ss58_address


def test_another_body_is_refused() -> None:
    with pytest.raises(CryptoError):
        verify_signature_headers(VECTOR, BODY + b" ", now_s=NOW_S, window_s=30)


@pytest.mark.parametrize("age_s", [31, -31])
def test_stale_and_future_nonces_are_refused(age_s: float) -> None:
    with pytest.raises(CryptoError, match="sign again"):
        verify_signature_headers(VECTOR, BODY, now_s=NOW_S + age_s, window_s=30)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Hotkey", ""),
        ("X-Hotkey", "nobody"),
        ("X-Hotkey", STRANGER.ss58_address),
        ("X-Nonce", "nan"),
        ("X-Nonce", "yesterday"),
        ("X-Nonce", "1733011200.50000000000000000000000000000"),
        ("X-Signature", "d4e1"),
        ("X-Signature", "0x" + "00" * 64),
    ],
)
def test_wrong_headers_are_refused(name: str, value: str) -> None:
    headers = httpx.Headers(VECTOR)
    headers[name] = value
    with pytest.raises(WireError):
        verify_signature_headers(headers, BODY, now_s=NOW_S, window_s=30)

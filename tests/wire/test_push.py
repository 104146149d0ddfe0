"""Dialect B: the golden bytes, and whatever else may be sent instead."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.crypto import unseal, verify_signature
from loosh_pipeline.wire.push import build_push_key_exchange, parse_push_key_exchange
from tests.wire.peers import VALIDATOR

GOLDEN = json.loads((Path(__file__).parent / "golden" / "dialect_b.json").read_text())
EXCHANGE: dict[str, Any] = GOLDEN["key_exchange"]


def parsed(**changes: Any) -> Any:
    return parse_push_key_exchange(json.dumps(EXCHANGE | changes).encode())


def test_golden_exchange_is_understood_and_its_signature_right() -> None:
    exchange = parsed()
    assert (exchange.hotkey, exchange.key_uuid) == (EXCHANGE["hotkey_ss58"], EXCHANGE["key_uuid"])
    assert exchange.message == GOLDEN["signed_text"].encode()
    verify_signature(exchange.message, exchange.signature, exchange.hotkey)


def test_golden_exchange_is_what_is_built() -> None:
    built = build_push_key_exchange(
        VALIDATOR, EXCHANGE["key_uuid"], parsed().ciphertext, timestamp_s=EXCHANGE["timestamp"]
    )
    assert json.dumps(built | {"signature": EXCHANGE["signature"]}) == json.dumps(EXCHANGE)
    assert len(bytes.fromhex(built["signature"])) == 64


def test_golden_challenge_is_decrypted() -> None:
    assert unseal(GOLDEN["symmetric_key"].encode(), GOLDEN["token"].encode()) == GOLDEN["plaintext"].encode()


def test_both_ways_to_write_a_signature_mean_the_same() -> None:
    assert parsed(signature="0x" + EXCHANGE["signature"]).signature == parsed().signature
    assert parsed(signature="").signature == b""


def test_the_double_is_what_was_signed_however_it_was_written() -> None:
    assert parsed(timestamp=1733011200).message.startswith(b"1733011200.0.")


def test_one_exchange_is_one_nonce_and_fits_its_column() -> None:
    assert parsed().once == parsed().once != parsed(timestamp=1.5).once
    assert len(parsed(key_uuid="u" * 128).once) <= 128


def test_an_unsigned_exchange_names_a_hotkey() -> None:
    assert build_push_key_exchange(None, "u", b"", timestamp_s=1.5, hotkey="5A")["signature"] == ""
    with pytest.raises(ValueError, match="names a hotkey"):
        build_push_key_exchange(None, "u", b"", timestamp_s=1.5)


@pytest.mark.parametrize("signature", ["nope", "0x", "00" * 63, "00" * 65, "zz" * 64, "0x0x" + "00" * 63])
def test_what_cannot_be_a_signature_is_a_wrong_one(signature: str) -> None:
    exchange = parsed(signature=signature)
    with pytest.raises(CryptoError, match="signature"):
        verify_signature(exchange.message, exchange.signature, exchange.hotkey)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(sorted(EXCHANGE)), any_json))
def test_any_field_is_understood_or_refused(changes: dict[str, Any]) -> None:
    with suppress(WireError):
        parsed(**changes)


@given(st.binary(max_size=2000), st.integers(0, 600))
def test_any_bytes_and_any_truncation_are_refused(data: bytes, length: int) -> None:
    for body in (data, json.dumps(EXCHANGE).encode()[:length]):
        with pytest.raises(WireError):
            parse_push_key_exchange(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"timestamp": ' + b"9" * 5000 + b"}",
        b'{"timestamp": NaN}',
        b'{"timestamp": 1e999}',
        b"\xff\xfe",
        b"null",
        json.dumps(EXCHANGE | {"timestamp": 10**400}).encode(),
        json.dumps(EXCHANGE | {"hotkey_ss58": "5" * 10_000}).encode(),
        json.dumps(EXCHANGE | {"key_uuid": "\ud800"}).encode(),
        json.dumps(EXCHANGE | {"encrypted_symmetric_key": "A" * 100_000}).encode(),
    ],
)
def test_hostile_exchanges_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_push_key_exchange(body)

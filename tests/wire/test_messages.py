"""What is said inside the protocol: golden vectors, round trips, refusals."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import Usage
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import verify_signature
from loosh_pipeline.wire.messages import (
    Answer,
    api_signed_text,
    build_answer,
    build_api_key_exchange,
    build_challenge,
    build_miner_key_exchange,
    miner_signed_text,
    parse_answer,
    parse_api_key_exchange,
    parse_challenge,
    parse_exchange_success,
    parse_miner_key_exchange,
    parse_prefixed_signature,
    parse_public_key,
    verify_binding,
)
from tests import builders
from tests.wire.peers import STRANGER, VALIDATOR

UUID = "7b0f6a1e-3c1c-4f0f-9d0a-5c1d2e3f4a5b"
SIGNATURE = (
    "eef202da3d7e77f3603ac0cbe71c2b4b920cc361a2433c45262101ee40a3925ccbc2898f027a93852bf57e931b0dd3f8"
    "a4051cc1ee39594282d47ce429a33a86"
)
CIPHERTEXT = bytes(range(256))


def miner_exchange(**changes: Any) -> bytes:
    body = build_miner_key_exchange(VALIDATOR, "miner-1", UUID, CIPHERTEXT, timestamp_s=1733011200.123456, nonce=UUID)
    return encode_json(body | changes)


def api_exchange(**changes: Any) -> bytes:
    body = build_api_key_exchange(VALIDATOR, UUID, CIPHERTEXT, timestamp_s=1733011200.123456)
    return encode_json(body | changes)


def test_signed_text_of_the_vector() -> None:
    message = miner_signed_text(1733011200.123456, UUID, VALIDATOR.ss58_address)
    assert message == f"1733011200.123456.{UUID}.{VALIDATOR.ss58_address}".encode()
    verify_signature(message, bytes.fromhex(SIGNATURE), VALIDATOR.ss58_address)


def test_vector_signature_is_accepted_in_a_body() -> None:
    exchange = parse_miner_key_exchange(miner_exchange(signature="0x" + SIGNATURE))
    verify_signature(exchange.message, exchange.signature, exchange.hotkey)


@pytest.mark.parametrize(
    ("timestamp_s", "text"),
    [
        (1733011200.0, "1733011200.0"),
        (1733011200.5, "1733011200.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e16, "1e+16"),
    ],
)
def test_timestamps_are_signed_as_the_shortest_repr(timestamp_s: float, text: str) -> None:
    assert miner_signed_text(timestamp_s, "n", "h") == f"{text}.n.h".encode()
    assert api_signed_text(timestamp_s, "h", "u") == f"{text}.h.u".encode()


def test_integer_timestamp_in_json_is_verified_as_a_float() -> None:
    exchange = parse_miner_key_exchange(miner_exchange(timestamp=1733011200))
    assert exchange.message.startswith(b"1733011200.0.")


@given(timestamp_s=st.floats(min_value=0, max_value=4e9))
def test_timestamp_survives_json(timestamp_s: float) -> None:
    body = build_miner_key_exchange(VALIDATOR, "m", UUID, CIPHERTEXT, timestamp_s=timestamp_s, nonce=UUID)
    exchange = parse_miner_key_exchange(encode_json(body))
    verify_signature(exchange.message, exchange.signature, exchange.hotkey)


def test_miner_key_exchange_codings() -> None:
    body = json.loads(miner_exchange())
    assert body["encrypted_symmetric_key"] == CIPHERTEXT.hex()
    assert body["signature"].startswith("0x")
    assert len(body["signature"]) == 130
    exchange = parse_miner_key_exchange(miner_exchange())
    assert exchange.ciphertext == CIPHERTEXT
    assert (exchange.key_uuid, exchange.once, exchange.hotkey) == (UUID, UUID, VALIDATOR.ss58_address)


def test_api_key_exchange_codings() -> None:
    body = json.loads(api_exchange())
    assert set(body) == {
        "encrypted_symmetric_key",
        "key_uuid",
        "timestamp",
        "signature",
        "validator_hotkey_ss58",
    }
    assert len(body["signature"]) == 128
    exchange = parse_api_key_exchange(api_exchange())
    assert exchange.ciphertext == CIPHERTEXT
    assert exchange.message == f"1733011200.123456.{VALIDATOR.ss58_address}.{UUID}".encode()
    verify_signature(exchange.message, exchange.signature, exchange.hotkey)


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": SIGNATURE},
        {"signature": "0x" + SIGNATURE[2:]},
        {"signature": None},
        {"encrypted_symmetric_key": CIPHERTEXT.hex()[2:]},
        {"encrypted_symmetric_key": "zz" * 256},
        {"timestamp": "1733011200.5"},
        {"timestamp": True},
        {"nonce": ""},
        {"nonce": "a b"},
        {"nonce": "a" * 129},
        {"symmetric_key_uuid": "x\r\ny: z"},
        {"validator_hotkey_ss58": "nobody"},
        {"binding_signature": "00"},
    ],
)
def test_wrong_miner_key_exchanges_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        parse_miner_key_exchange(miner_exchange(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": "0x" + SIGNATURE},
        {"signature": ""},
        {"encrypted_symmetric_key": CIPHERTEXT.hex()},
        {"key_uuid": 7},
        {"validator_hotkey_ss58": None},
    ],
)
def test_wrong_api_key_exchanges_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        parse_api_key_exchange(api_exchange(**changes))


def test_binding_ties_the_exchange_to_miner_and_ciphertext() -> None:
    verify_binding(parse_miner_key_exchange(miner_exchange()), "miner-1", required=True)
    with pytest.raises(CryptoError):
        verify_binding(parse_miner_key_exchange(miner_exchange()), "miner-2")
    relayed = parse_miner_key_exchange(miner_exchange(encrypted_symmetric_key="00" * 256))
    verify_signature(relayed.message, relayed.signature, relayed.hotkey)
    with pytest.raises(CryptoError):
        verify_binding(relayed, "miner-1")


def test_missing_binding_matters_only_when_required() -> None:
    unbound = parse_miner_key_exchange(miner_exchange(binding_signature=None))
    verify_binding(unbound, "miner-1")
    with pytest.raises(CryptoError, match="missing"):
        verify_binding(unbound, "miner-1", required=True)


def test_signature_of_a_stranger_does_not_verify() -> None:
    body = build_miner_key_exchange(STRANGER, "m", UUID, CIPHERTEXT, timestamp_s=1.5, nonce=UUID)
    claimed = encode_json(body | {"validator_hotkey_ss58": VALIDATOR.ss58_address})
    exchange = parse_miner_key_exchange(claimed)
    with pytest.raises(CryptoError):
        verify_signature(exchange.message, exchange.signature, exchange.hotkey)


def test_challenge_plaintext_of_the_protocol() -> None:
    received_at = datetime(2026, 3, 22, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert build_challenge(builders.challenge(received_at=received_at, prompt="hi")) == {
        "prompt": "hi",
        "messages": None,
        "tools": None,
        "tool_choice": None,
        "model": "Qwen/Qwen2.5-32B-Instruct",
        "max_tokens": 256,
        "temperature": 0.7,
        "top_p": 0.95,
        "correlation_id": None,
        "created_at": "2026-03-22T10:00:00.123456",
    }


def test_challenge_passes_messages_tools_and_timing_on() -> None:
    messages = ({"role": "user", "content": "hi"},)
    tools = ({"type": "function", "function": {"name": "add"}},)
    payload = build_challenge(
        builders.challenge(messages=messages, tools=tools, tool_choice="auto", timing_data={"stages": []})
    )
    assert payload["messages"] == list(messages)
    assert payload["tools"] == list(tools)
    assert payload["tool_choice"] == "auto"
    assert payload["metadata"] == {"timing_data": {"stages": []}}
    assert "id" not in payload


def test_miner_prefers_the_last_user_message() -> None:
    messages = (
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "third"},
    )
    challenge = builders.challenge(prompt="prompt", messages=messages)
    assert parse_challenge(encode_json(build_challenge(challenge))).prompt == "second"
    parts = ({"role": "user", "content": [{"type": "text", "text": "hi"}]},)
    challenge = builders.challenge(prompt="prompt", messages=parts)
    assert parse_challenge(encode_json(build_challenge(challenge))).prompt == "prompt"


@pytest.mark.parametrize("missing", ["prompt", "max_tokens", "temperature", "top_p"])
def test_challenge_without_what_a_miner_needs_is_refused(missing: str) -> None:
    payload = build_challenge(builders.challenge())
    del payload[missing]
    with pytest.raises(WireError, match=missing):
        parse_challenge(encode_json(payload))


TEXTS = st.text(st.characters(codec="utf-8"))


@given(
    text=TEXTS,
    finish_reason=st.none() | TEXTS.filter(lambda text: len(text) < 100),
    calls=st.none() | st.lists(st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=3),
    tokens=st.tuples(*[st.integers(0, 2**31 - 1)] * 3),
)
def test_answer_round_trip(text: str, finish_reason: str | None, calls: Any, tokens: Any) -> None:
    answer = Answer(text, finish_reason, None if calls is None else tuple(calls), Usage(*tokens))
    assert parse_answer(encode_json(build_answer(answer, response_time_ms=7))) == answer


@pytest.mark.parametrize(
    "plaintext",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"response_text": null}',
        b'{"response_text": 1}',
        b'{"response_text": "\\ud800"}',
    ],
)
def test_answers_of_another_shape_are_refused(plaintext: bytes) -> None:
    with pytest.raises(WireError):
        parse_answer(plaintext)


@pytest.mark.parametrize(
    "plaintext",
    [
        b'{"response_text": "x", "tool_calls": "y"}',
        b'{"response_text": "x", "tool_calls": [1]}',
        b'{"response_text": "x", "usage": 3}',
        b'{"response_text": "x", "usage": {"total_tokens": -1}}',
        b'{"response_text": "x", "usage": {"total_tokens": 1.5}}',
        b'{"response_text": "x", "finish_reason": 1}',
    ],
)
def test_an_answer_is_not_lost_for_what_accompanies_it(plaintext: bytes) -> None:
    assert parse_answer(plaintext) == Answer("x", None, None, Usage())


@pytest.mark.parametrize(
    ("plaintext", "empty"),
    [
        (b'{"response_text": ""}', True),
        (b'{"response_text": " \\n"}', True),
        (b'{"response_text": "", "tool_calls": []}', True),
        (b'{"response_text": "", "tool_calls": [{"id": "1"}]}', False),
        (b'{"response_text": "x"}', False),
    ],
)
def test_answer_is_empty_without_text_and_tool_calls(plaintext: bytes, empty: bool) -> None:
    assert parse_answer(plaintext).empty is empty


def test_handshake_answers() -> None:
    assert parse_public_key(b'{"public_key": "PEM"}') == "PEM"
    assert parse_exchange_success(b'{"success": true}')
    assert parse_exchange_success(b'{"success": 1}'), "as the network reads it: truthy"
    assert not parse_exchange_success(b'{"success": false}')
    assert not parse_exchange_success(b'{"success": 0}')
    assert not parse_exchange_success(b"{}")
    with pytest.raises(WireError, match="public_key"):
        parse_public_key(b'{"public_key": null}')
    with pytest.raises(WireError, match="0x"):
        parse_prefixed_signature(SIGNATURE)


def test_created_at_is_utc_without_an_offset() -> None:
    payload = build_challenge(builders.challenge(received_at=datetime(2026, 1, 2, tzinfo=UTC)))
    assert payload["created_at"] == "2026-01-02T00:00:00"

"""Validator to miner, byte for byte: what is sent, and what is made of what comes back."""

from __future__ import annotations

import contextlib
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import Challenge, Outcome, Usage
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.requests import resolve_challenge
from loosh_pipeline.store.frames import responses_frame, responses_of
from loosh_pipeline.wire.batch import Evaluation, build_response_batch
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import verify_signature
from loosh_pipeline.wire.messages import (
    build_challenge,
    build_miner_key_exchange,
    parse_answer,
    parse_challenge,
    parse_exchange_success,
    parse_miner_key_exchange,
    parse_public_key,
    verify_binding,
)
from tests import builders
from tests.wire.peers import VALIDATOR

GOLDEN = json.loads((Path(__file__).parent / "golden" / "dialect_a.json").read_text())
RECEIVED_AT = datetime(2026, 3, 22, 10, 0, 0, 123456, tzinfo=UTC)
UUID = GOLDEN["key_exchange"]["symmetric_key_uuid"]


def challenge(name: str) -> Challenge:
    return resolve_challenge(GOLDEN["requests"][name], RECEIVED_AT)


@pytest.mark.parametrize("name", sorted(GOLDEN["requests"]))
def test_the_plaintext_of_a_challenge(name: str) -> None:
    """Keys, their order, defaults and separators; turns, content parts and tools are passed on as they came."""
    assert encode_json(build_challenge(challenge(name))) == GOLDEN[name].encode()
    assert parse_challenge(GOLDEN[name].encode()).prompt == challenge(name).prompt


def test_w_33_what_is_sent_to_one_miner_does_not_change_what_is_sent_to_the_next() -> None:
    one = challenge("challenge_by_messages")
    before = copy.deepcopy((one.timing_data, one.messages, one.tools))
    sent = build_challenge(one)
    sent["metadata"]["timing_data"]["stages2"] = []
    sent["messages"][0]["role"] = "changed"
    sent["tools"].append({})
    assert (one.timing_data, one.messages, one.tools) == before


def exchange(miner: str = "miner-1") -> dict[str, Any]:
    ciphertext = bytes.fromhex(GOLDEN["key_exchange"]["encrypted_symmetric_key"])
    return build_miner_key_exchange(VALIDATOR, miner, UUID, ciphertext, timestamp_s=1733011200.123456, nonce=UUID)


def test_the_body_of_a_key_exchange() -> None:
    body = exchange()
    assert {name: body[name] for name in GOLDEN["key_exchange"]} == GOLDEN["key_exchange"]
    assert set(body) - set(GOLDEN["key_exchange"]) == {"signature", "binding_signature"}
    assert body["signature"].startswith("0x")
    message = GOLDEN["key_exchange_message"].encode()
    verify_signature(message, bytes.fromhex(body["signature"][2:]), VALIDATOR.ss58_address)


def test_w_5_a_relayed_exchange_is_told_by_its_second_signature() -> None:
    """The old signature covers neither the miner nor the key; the added one does both."""
    body = exchange("miner-1")
    relayed = parse_miner_key_exchange(encode_json(body | {"encrypted_symmetric_key": "ab" * 256}))
    verify_signature(relayed.message, relayed.signature, relayed.hotkey)
    with pytest.raises(CryptoError):
        verify_binding(relayed, "miner-1")
    with pytest.raises(CryptoError):
        verify_binding(parse_miner_key_exchange(encode_json(body)), "miner-2")
    verify_binding(parse_miner_key_exchange(encode_json(body)), "miner-1", required=True)


def test_w_21_tool_calls_usage_and_finish_reason_reach_the_network() -> None:
    """From the bytes of a miner through the table to the batch; to call a tool is to answer."""
    answer = parse_answer(GOLDEN["answers"]["tool_calls"].encode())
    assert not answer.empty
    response = builders.response(
        text=answer.text,
        outcome=Outcome.ANSWERED,
        tool_calls=answer.tool_calls,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
    )
    (stored,) = responses_of(responses_frame([response], asked_at=RECEIVED_AT, metagraph_block=1))
    assert stored == response
    (entry,) = build_response_batch(builders.challenge(), [stored], Evaluation(0.0), "v")["responses"]
    assert entry["tool_calls"] == json.loads(GOLDEN["answers"]["tool_calls"])["tool_calls"]
    assert (entry["finish_reason"], entry["text"]) == ("tool_calls", "")
    assert entry["usage"] == {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}


def test_an_answer_in_text() -> None:
    answer = parse_answer(GOLDEN["answers"]["text"].encode())
    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("Scattering.", "stop", None)
    assert answer.usage == Usage(6, 3, 9)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "response_text",
        "tool_calls",
        "finish_reason",
        "usage",
        "prompt",
        "messages",
        "max_tokens",
        "temperature",
        "top_p",
        "public_key",
        "success",
        "timestamp",
        "nonce",
        "signature",
        "validator_hotkey_ss58",
        "symmetric_key_uuid",
    ]
)
ODD = [
    b"",
    b"\xff\xfe{}",
    b'{"response_text": "' + b"x" * 5_000_000 + b'"}',
    b'{"usage": ' + b"[" * 100_000,
    b'{"response_text": "x", "usage": {"total_tokens": ' + b"9" * 5000 + b"}}",
    b'{"response_text": NaN}',
    b'{"response_text": "x", "usage": {"total_tokens": Infinity}}',
    b'{"response_text": "\\udc00"}',
    b'{"max_tokens": 1e400, "prompt": "x"}',
]
DECODERS = [parse_answer, parse_challenge, parse_miner_key_exchange, parse_public_key, parse_exchange_success]


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(data=st.binary(max_size=200) | st.dictionaries(NAMES, JSON).map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_understood_or_refused(decode: Any, data: bytes) -> None:
    for piece in (data, data[: len(data) // 2]):
        with contextlib.suppress(WireError):
            decode(piece)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_the_worst_of_it_is_refused_in_few_words(decode: Any, data: bytes) -> None:
    try:
        found = decode(data)
    except WireError as error:
        found = str(error)
    assert found is False or len(found) < 500  # an exchange that says nothing of success is one without

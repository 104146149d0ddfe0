"""The decoders of strangers' bytes refuse with WireError, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.codec import (
    MAX_DEPTH,
    Fields,
    decode_base64,
    decode_hex,
    decode_json,
    decode_object,
    encode_json,
)
from loosh_pipeline.wire.messages import (
    parse_answer,
    parse_api_key_exchange,
    parse_challenge,
    parse_exchange_success,
    parse_miner_key_exchange,
    parse_public_key,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELD_NAMES = (
    "prompt messages tools max_tokens temperature top_p model correlation_id response_text tool_calls usage "
    "prompt_tokens finish_reason public_key success encrypted_symmetric_key symmetric_key_uuid key_uuid timestamp "
    "nonce signature validator_hotkey_ss58 binding_signature"
)
NEAR_MESSAGES = st.dictionaries(st.sampled_from(FIELD_NAMES.split()), JSON_VALUES, max_size=12)
PARSERS = [
    lambda data: decode_object(data, "test"),
    parse_answer,
    parse_api_key_exchange,
    parse_challenge,
    parse_exchange_success,
    parse_miner_key_exchange,
    parse_public_key,
]


def _only_wire_errors(parse: Callable[[bytes], Any], data: bytes) -> None:
    try:
        parse(data)
    except WireError:
        return


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=50)
@given(data=st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_parsers_raise_wire_errors_only_on_any_bytes(parse: Callable[[bytes], Any], data: bytes) -> None:
    _only_wire_errors(parse, data)


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=50)
@given(message=NEAR_MESSAGES)
def test_parsers_raise_wire_errors_only_on_near_messages(parse: Callable[[bytes], Any], message: Any) -> None:
    _only_wire_errors(parse, json.dumps(message).encode())


@given(value=JSON_VALUES)
def test_what_decodes_can_be_encoded_and_stored(value: Any) -> None:
    try:
        decoded = decode_json(json.dumps(value).encode(), "test")
    except WireError:
        return
    assert decode_json(encode_json(decoded), "test") == decoded
    json.dumps(decoded, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'{"a": ' + b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nests deeper"),
        (b"[]", "not a JSON object but a list"),
        (b"null", "not a JSON object but null"),
    ],
)
def test_hostile_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode_object(data, "test")


def test_surrogate_pairs_and_nesting_within_the_limit_are_fine() -> None:
    assert decode_object(b'{"a": "\\ud83d\\ude00"}', "test") == {"a": "\U0001f600"}
    deep = b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert "a" in decode_object(deep, "test")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"])
def test_what_is_no_json_is_not_encoded(value: Any) -> None:
    with pytest.raises(WireError, match="cannot be written"):
        encode_json({"a": value})


@pytest.mark.parametrize("text", ["", "00", "0" * 3, "0g11", "00 11", "00 1", "٠٠11"])
def test_hexadecimal_is_exact(text: str) -> None:
    with pytest.raises(WireError, match="hexadecimal"):
        decode_hex(text, 2, "test")


@pytest.mark.parametrize("text", ["", "AAA", "AAAA", "A A=", "AAE=\n", "éé=="])
def test_base64_is_exact(text: str) -> None:
    with pytest.raises(WireError, match="test"):
        decode_base64(text, 2, "test")
    assert decode_base64("AAE=", 2, "test") == b"\x00\x01"


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        (lambda f: f.text("a", 3), 1),
        (lambda f: f.text("a", 3), "four"),
        (lambda f: f.text("a", 3), None),
        (lambda f: f.number("a"), True),
        (lambda f: f.number("a"), "1"),
        (lambda f: f.number("a"), 10**400),
        (lambda f: f.count("a", 5), 6),
        (lambda f: f.count("a", 5), -1),
        (lambda f: f.count("a", 5), 1.0),
        (lambda f: f.count("a", 5), True),
        (lambda f: f.optional_object("a"), []),
        (lambda f: f.optional_objects("a"), {}),
        (lambda f: f.optional_objects("a"), [1]),
    ],
)
def test_fields_of_the_wrong_type_or_size_are_named(getter: Callable[[Fields], Any], value: Any) -> None:
    with pytest.raises(WireError, match=r"thing: a "):
        getter(Fields({"a": value}, "thing"))


def test_absent_and_null_are_the_same_where_optional() -> None:
    for fields in (Fields({}, "thing"), Fields({"a": None}, "thing")):
        assert fields.optional_text("a", 3) is None
        assert fields.optional_object("a") is None
        assert fields.optional_objects("a") is None
        assert fields.count("a", 5) == 0
        assert not fields.flag("a")

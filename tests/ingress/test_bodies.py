"""The reader of plain challenges: whatever is sent, it is understood or refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st

from ingress.bodies import plain_challenge
from loosh_pipeline.requests import Limits

FIELDS = st.sampled_from(
    ["prompt", "messages", "tools", "tool_choice", "max_tokens", "temperature", "top_p", "metadata", "created_at", "id"]
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(FIELDS, any_json))
def test_any_field_is_understood_or_refused(changes: dict[str, Any]) -> None:
    body = json.dumps({"id": "c-1", "prompt": "hi"} | changes).encode()
    with suppress(RequestValidationError):
        challenge = plain_challenge(body, Limits())
        json.dumps(challenge.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()


@given(st.binary(max_size=200), st.integers(0, 27))
def test_any_bytes_and_any_truncation_are_refused(data: bytes, length: int) -> None:
    for body in (data, b'{"id": "c-1", "prompt": "hi"}'[:length]):
        with pytest.raises(RequestValidationError):
            plain_challenge(body, Limits())


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"\xff", ("body",)),
        (b'{"id": "a", "prompt": "hi", "max_tokens": ' + b"9" * 5000 + b"}", ("body",)),
        (b'{"id": "a", "prompt": "hi", "max_tokens": ' + b"9" * 30 + b"}", ("body", "max_tokens")),
        (b'{"id": "a", "prompt": "hi", "tools": {"a": 1}}', ("body", "tools")),
    ],
)
def test_a_refusal_says_where(body: bytes, loc: tuple[str, ...]) -> None:
    with pytest.raises(RequestValidationError) as refused:
        plain_challenge(body, Limits())
    assert refused.value.errors()[0]["loc"] == loc

"""A challenge as it is requested, and as it is understood."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loosh_pipeline.prompts import message_text
from loosh_pipeline.requests import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_MODEL,
    DEFAULT_TEMPERATURE,
    DEFAULT_TOP_P,
    LIMITS,
    ChallengeRequest,
    Limits,
    resolve_challenge,
)
from loosh_pipeline.wire.messages import build_challenge
from tests.builders import NOON

MAX_PROMPT_CHARS = Limits().prompt_chars
MAX_JSON_CHARS = Limits().json_chars


def request(**fields: Any) -> ChallengeRequest:
    return ChallengeRequest.model_validate({"id": "c-1", "prompt": "hi"} | fields)


def resolved(**fields: Any) -> Any:
    return resolve_challenge(request(**fields).stored(NOON), NOON)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_defaults_are_the_networks() -> None:
    challenge = resolved()
    assert (challenge.model, challenge.max_tokens) == (DEFAULT_MODEL, DEFAULT_MAX_TOKENS)
    assert (challenge.temperature, challenge.top_p) == (DEFAULT_TEMPERATURE, DEFAULT_TOP_P)
    assert (challenge.messages, challenge.tools, challenge.timing_data) == (None, None, None)


def test_what_is_given_wins_also_when_it_is_zero() -> None:
    challenge = resolved(temperature=0, max_tokens=1, top_p=0.5, model="m", tool_choice={"a": 1}, correlation_id="x")
    assert (challenge.temperature, challenge.max_tokens, challenge.top_p, challenge.model) == (0.0, 1, 0.5, "m")
    assert (challenge.tool_choice, challenge.correlation_id) == ({"a": 1}, "x")


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"metadata": {"model": "from metadata"}}, "from metadata"),
        ({"model": "own", "metadata": {"model": "from metadata"}}, "own"),
        ({"model": "", "metadata": {"model": ""}}, DEFAULT_MODEL),
        ({"metadata": {"model": 7}}, DEFAULT_MODEL),
    ],
)
def test_model_is_resolved_in_the_networks_order(fields: dict[str, Any], model: str) -> None:
    assert resolved(**fields).model == model


def test_timing_data_is_passed_on_when_it_is_an_object() -> None:
    assert resolved(metadata={"timing_data": {"sent": 1}}).timing_data == {"sent": 1}
    assert resolved(metadata={"timing_data": [1]}).timing_data is None


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([{"role": "user", "content": "one"}, {"role": "assistant", "content": "no"}], "one"),
        ([{"role": "user", "content": "one"}, {"role": "user", "content": "two"}], "two"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}], "a\nb"),
    ],
)
def test_the_last_user_message_is_what_is_evaluated(messages: list[dict[str, Any]], prompt: str) -> None:
    assert resolved(prompt=None, messages=messages).prompt == prompt
    assert resolved(prompt=" \n", messages=messages).prompt == prompt
    assert resolved(prompt="mine", messages=messages).prompt == "mine"


@pytest.mark.parametrize("content", [None, 7, {"text": "x"}, [7, {"text": 8}], []])
def test_content_without_text_is_no_text(content: Any) -> None:
    assert message_text(content) == ""
    with pytest.raises(ValidationError, match="nothing to answer"):
        request(prompt="", messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "a\ud800b"}, "valid string"),
        ({"messages": [{"role": "user", "content": "\udfff"}]}, "lone surrogates"),
        ({"metadata": {"\ud800": 1}}, "lone surrogates"),
        ({"correlation_id": "\ud800"}, "valid string"),
        ({"metadata": {"a": float("nan")}}, "no NaN"),
        ({"tools": [{"a": float("inf")}]}, "no NaN"),
        ({"tool_choice": nested(400)}, "not nested deeper"),
        ({"tool_choice": nested(100_000)}, "not nested deeper"),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, "outside the years 1 to 9999"),
        ({"created_at": "9999-12-31T23:59:59-14:00"}, "outside the years 1 to 9999"),
        ({"id": "a...b"}, "must not contain"),
        ({"id": "a\u200bb"}, "must be printable"),
        ({"id": "\ud800"}, "valid string"),
        ({"temperature": float("nan")}, "finite"),
    ],
)
def test_what_could_not_be_stored_sent_or_embedded_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        request(**fields)


@pytest.mark.parametrize("name", ["model", "status", "requester", "correlation_id"])
def test_names_are_bounded(name: str) -> None:
    assert getattr(request(**{name: "a" * 256}), name) == "a" * 256
    with pytest.raises(ValidationError, match="at most 256 characters"):
        request(**{name: "a" * 257})


def test_the_prompt_is_bounded() -> None:
    assert len(resolved(prompt="a" * MAX_PROMPT_CHARS).prompt) == MAX_PROMPT_CHARS
    with pytest.raises(ValidationError, match="at most 200000 characters"):
        request(prompt="a" * (MAX_PROMPT_CHARS + 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "a" * MAX_JSON_CHARS}]},
        {"tools": [{"a": "b" * MAX_JSON_CHARS}]},
        {"tool_choice": "a" * MAX_JSON_CHARS},
        {"metadata": {"a": "b" * (MAX_JSON_CHARS // 2)}, "tool_choice": "a" * (MAX_JSON_CHARS // 2)},
    ],
)
def test_free_fields_are_bounded_together(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"are 20000\d\d characters of JSON; at most 2000000 characters"):
        request(**fields)


def test_free_fields_at_their_limit_are_stored_and_read_again() -> None:
    frame = len(json.dumps([None, None, "", None]))
    stored = request(tool_choice="é" * (MAX_JSON_CHARS - frame)).stored(NOON)
    assert len(resolve_challenge(stored, NOON).tool_choice) == MAX_JSON_CHARS - frame


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (None, NOON.isoformat()),
        ("2026-01-02T21:00:00+09:00", "2026-01-02T12:00:00+00:00"),
        ("2026-01-02T12:00:00", "2026-01-02T12:00:00"),
    ],
)
def test_created_at_is_kept_in_utc_or_as_it_came(sent: str | None, kept: str) -> None:
    assert request(created_at=sent).stored(NOON)["created_at"] == kept


def test_what_is_stored_is_json_and_means_the_same_when_read_again() -> None:
    fields = {
        "messages": [{"role": "user", "content": "é \U0001f308"}],
        "metadata": {"a": [1.5, None]},
        "extra": "gone",
    }
    once = request(**fields).stored(NOON)
    assert "extra" not in once
    again = ChallengeRequest.model_validate(json.loads(json.dumps(once))).stored(datetime(2030, 1, 1, tzinfo=UTC))
    assert again == once
    assert resolve_challenge(once, NOON).original == once


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_metadata_is_refused_or_can_be_stored(value: Any) -> None:
    try:
        stored = request(metadata={"value": value}).stored(NOON)
    except ValidationError:
        return
    assert json.loads(json.dumps(stored, ensure_ascii=False).encode())["metadata"]["value"] == value


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "name": "ann", "content": "What is this?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look"}}],
    },
    {"role": "tool", "tool_call_id": "t1", "content": "a cat"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "And this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "text", "text": "Say it in French."},
        ],
    },
]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize("choice", ["auto", "none", {"type": "function", "function": {"name": "look"}}, None])
def test_w_22_conversations_parts_and_tools_reach_miners_untouched(choice: Any) -> None:
    sent = {"prompt": None, "messages": CONVERSATION, "tools": TOOLS, "tool_choice": choice}
    payload = build_challenge(resolved(**json.loads(json.dumps(sent))))
    assert (payload["messages"], payload["tools"], payload["tool_choice"]) == (CONVERSATION, TOOLS, choice)
    assert payload["prompt"] == "And this?\nSay it in French."


def test_w_22_what_has_nothing_to_answer_is_never_accepted() -> None:
    for fields in ({"prompt": None}, {"prompt": None, "messages": []}, {"prompt": "", "messages": CONVERSATION[:1]}):
        with pytest.raises(ValidationError, match="nothing to answer"):
            request(**fields)


def test_what_was_stored_under_wider_limits_is_still_understood() -> None:
    wide = {LIMITS: Limits(prompt_chars=10**6, message_chars=10**6, json_chars=10**7, tokens=10**6)}
    messages = [{"role": "user", "content": "m" * 300_000}]
    fields = {"id": "c-1", "prompt": "p" * 300_000, "messages": messages, "max_tokens": 500_000}
    stored = ChallengeRequest.model_validate(fields, context=wide).stored(NOON)
    with pytest.raises(ValidationError):
        ChallengeRequest.model_validate(stored)
    assert resolve_challenge(stored, NOON).max_tokens == 500_000

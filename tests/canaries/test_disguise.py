"""What a miner is sent of a canary is what it is sent of others, but for the question."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from loosh_pipeline.canaries.disguise import in_disguise
from loosh_pipeline.canaries.questions import question_of
from loosh_pipeline.requests import ChallengeRequest, resolve_challenge
from loosh_pipeline.wire.messages import build_challenge

THEN = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
NOW = THEN + timedelta(minutes=42, seconds=1)
PROMPT = question_of({"prompt": "What is 6 × 7?", "accepted": [42]})
MESSAGES = question_of({"messages": [{"role": "user", "content": "6 times 7?"}], "accepted": [42]})
ID = "7b0f6a1e-3c1c-4f0f-9d0a-5c1d2e3f4a5b"


def pushed(**fields: Any) -> dict[str, Any]:
    body = {"id": ID, "prompt": "Why is the sky blue?"} | fields
    return ChallengeRequest.model_validate(body).stored(THEN)


def disguised(like: dict[str, Any], question: Any = PROMPT) -> dict[str, Any]:
    return in_disguise(question, like, THEN, NOW, Random(7))


def sent(body: dict[str, Any], at: datetime) -> dict[str, Any]:
    """What a miner reads."""
    return build_challenge(resolve_challenge(ChallengeRequest.model_validate(body).stored(at), at))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": 64, "temperature": 0.0, "top_p": 0.5, "model": "some/model"},
        {"correlation_id": ID.replace("-", ""), "requester": "somebody", "status": "new"},
        {"metadata": {"timing_data": {"sent": THEN.timestamp() - 0.1, "ms": int(THEN.timestamp() * 1000), "hops": 3}}},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
    ],
)
def test_a_miner_sees_the_same_fields_of_the_same_kinds(fields: dict[str, Any]) -> None:
    like = pushed(**fields)
    real, canary = sent(like, THEN), sent(disguised(like), NOW)
    assert canary["prompt"] == PROMPT.prompt
    assert _shape(real) == _shape(canary)
    for name in ("model", "max_tokens", "temperature", "top_p", "tools", "tool_choice"):
        assert real[name] == canary[name]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shape(each) for each in value]
    return type(value).__name__


def test_times_move_along_and_other_numbers_stay() -> None:
    sent_s = THEN.timestamp() - 0.125
    timing = {"sent": sent_s, "ms": int(sent_s * 1000), "at": "2026-03-01T12:00:00.125Z", "day": "2026-03-01T12:00:00"}
    other = {"hops": 3, "old": 1_000_000_000, "text": "2026 is a year", "yes": True, "long_ago": "2020-01-01T00:00:00Z"}
    like = pushed(metadata={"timing_data": timing | other}, created_at="2026-03-01T12:00:00+00:00")
    body = disguised(like)
    moved = body["metadata"]["timing_data"]
    by_s = (NOW - THEN).total_seconds()
    assert moved["sent"] == pytest.approx(sent_s + by_s)
    assert moved["ms"] == int(sent_s * 1000) + by_s * 1000
    assert moved["at"] == "2026-03-01T12:42:01.125Z"
    assert moved["day"] == "2026-03-01T12:42:01"
    assert {name: moved[name] for name in other} == other
    assert body["created_at"] == "2026-03-01T12:42:01+00:00"


@pytest.mark.parametrize(
    ("given", "spelled"), [(ID, str), (ID.replace("-", ""), lambda u: u.hex), (ID.upper(), lambda u: str(u).upper())]
)
def test_ids_are_new_and_spelled_as_others_are(given: str, spelled: Any) -> None:
    body = disguised(pushed(id=given, correlation_id=given))
    for name in ("id", "correlation_id"):
        assert body[name] != given
        assert spelled(uuid.UUID(body[name])) == body[name]
    assert body["id"] != body["correlation_id"]


def test_a_prompt_among_messages_is_a_message_after_the_same_instructions() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": [{"type": "text", "text": "And how?"}], "name": "ann"},
    ]
    body = disguised(pushed(prompt=None, messages=messages))
    assert body["prompt"] is None
    asked = {"role": "user", "content": [{"type": "text", "text": PROMPT.prompt}], "name": "ann"}
    assert body["messages"] == [messages[0], asked]
    both = disguised(pushed(prompt="And how?", messages=messages))
    assert both["prompt"] == PROMPT.prompt


def test_a_question_in_messages_is_asked_in_messages() -> None:
    assert disguised(pushed(), MESSAGES)["messages"] == [{"role": "user", "content": "6 times 7?"}]
    assert disguised(pushed(), MESSAGES)["prompt"] is None


def test_nothing_of_the_question_that_was_pushed_is_left() -> None:
    like = pushed(prompt="SECRET", messages=[{"role": "user", "content": "SECRET"}])
    for question in (PROMPT, MESSAGES):
        assert "SECRET" not in json.dumps(disguised(like, question))

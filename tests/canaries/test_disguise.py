"""What a miner is sent of a canary is what it is sent of others, but for the question; else there is no canary."""

from __future__ import annotations

import json
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from loosh_pipeline.canaries.disguise import fits, in_disguise, moved
from loosh_pipeline.canaries.questions import Question, question_of
from loosh_pipeline.canaries.templates import MIN_ALIKE, Form, Template, templates_of
from loosh_pipeline.requests import LIMITS, NO_LIMITS, ChallengeRequest, resolve_challenge
from loosh_pipeline.wire.messages import build_challenge

THEN = datetime(2026, 3, 1, 12, 0, 0, 250_123, tzinfo=UTC)
NOW = THEN + timedelta(minutes=42, seconds=1, microseconds=456_789)
PROMPT = question_of({"prompt": "What is 6 × 7?", "accepted": [42]})
MESSAGES = question_of({"messages": [{"role": "user", "content": "6 times 7?"}], "accepted": [42]})
MANY = 2 * MIN_ALIKE

Fields = Callable[[int, datetime], dict[str, Any]]


def pool(fields: Fields) -> list[tuple[dict[str, Any], datetime]]:
    """Challenges of the last minutes; `fields` of one by its number and when it came."""
    found = []
    for number in range(MANY):
        at = THEN - timedelta(seconds=7.777_001 * number)
        body = {"id": str(uuid.uuid4()), "prompt": "Why is the sky blue?"} | fields(number, at)
        found.append((ChallengeRequest.model_validate(body, context={LIMITS: NO_LIMITS}).stored(at), at))
    return found


def sent(body: dict[str, Any], at: datetime) -> dict[str, Any]:
    """What a miner reads."""
    return build_challenge(resolve_challenge(ChallengeRequest.model_validate(body).stored(at), at))


def made(fields: Fields, question: Question = PROMPT) -> tuple[Template, dict[str, Any]]:
    templates, unfit = templates_of(pool(fields))
    assert not unfit
    return templates[3], in_disguise(question, templates[3], NOW, Random(7))


def timed(**timing: Any) -> dict[str, Any]:
    return {"metadata": {"timing_data": timing}}


SYSTEM = {"role": "system", "content": "Be brief."}
GOOD: dict[str, Fields] = {
    "nothing": lambda n, at: {},
    "parameters of a few": lambda n, at: {"max_tokens": [512, 1024][n % 2], "temperature": 0.0, "model": "some/model"},
    "the model of metadata": lambda n, at: {"metadata": {"model": "some/model"}},
    "uuid": lambda n, at: {"correlation_id": str(uuid.uuid4())},
    "hex": lambda n, at: {"correlation_id": uuid.uuid4().hex},
    "capitals": lambda n, at: {"correlation_id": str(uuid.uuid4()).upper()},
    "tools": lambda n, at: {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
    "seconds of 3 decimals": lambda n, at: timed(at=round(at.timestamp(), 3)),
    "whole milliseconds": lambda n, at: timed(at=int(at.timestamp() * 1e3), hops=3),
    "milliseconds as floats": lambda n, at: timed(at=float(int(at.timestamp() * 1e3))),
    "iso": lambda n, at: timed(nested={"at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}),
    "iso seconds": lambda n, at: timed(at=at.replace(tzinfo=None).isoformat(timespec="seconds")),
    "messages": lambda n, at: {"prompt": None, "messages": [SYSTEM, {"role": "user", "content": f"Why {n}?"}]},
    "parts": lambda n, at: {
        "prompt": None,
        "messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": f"Why {n}?"}]}],
    },
}


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD)
def test_a_miner_sees_the_same_fields_in_the_same_form(fields: Fields) -> None:
    like, body = made(fields)
    real, canary = sent(dict(like.request), like.received_at), sent(body, NOW)
    assert canary["prompt"] == PROMPT.prompt
    assert _shape(real) == _shape(canary)
    for name in ("model", "max_tokens", "temperature", "top_p", "tools", "tool_choice"):
        assert real[name] == canary[name]
    assert "Why" not in json.dumps(canary)


def _shape(value: Any) -> Any:
    """Names and types; of texts of digits, ids and numbers their form: signs, decimals, and what divides them."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items() if name not in ("prompt", "content", "text")}
    if isinstance(value, list):
        return [_shape(each) for each in value]
    if isinstance(value, str):
        return "".join("0" if c in string.hexdigits else c for c in value), value.isupper()
    return type(value).__name__, value is True, len(repr(value).partition(".")[2].rstrip("0")) <= 3


BAD: dict[str, tuple[Fields, str]] = {
    "prefix": (lambda n, at: {"correlation_id": f"corr-{n:06}"}, "correlation_id"),
    "ulid": (lambda n, at: {"correlation_id": f"01J9ZC5W6TQ2X8K3F4G5H6J7{n:02}"}, "correlation_id"),
    "uuid7": (lambda n, at: {"correlation_id": f"0195500a-1b2c-7def-8abc-0123456789{n:02}"}, "correlation_id"),
    "braces": (lambda n, at: {"correlation_id": f"{{{uuid.uuid4()}}}"}, "correlation_id"),
    "empty": (lambda n, at: {"correlation_id": ""}, "correlation_id"),
    "drawn": (lambda n, at: {"temperature": 0.7 + n / 1e9}, "temperature is of one"),
    "few tokens": (lambda n, at: {"max_tokens": 1}, "max_tokens is below"),
    "a tool": (lambda n, at: {"tool_choice": "required"}, "tool_choice"),
    "trace": (lambda n, at: timed(trace=f"9f0c-{n}"), "timing_data.trace"),
    "duration": (lambda n, at: timed(ms=13.4821733 + n), "timing_data.ms"),
    "nanoseconds": (lambda n, at: timed(ns=int(at.timestamp() * 1e9)), "timing_data.ns"),
    "text": (lambda n, at: timed(at=str(at.timestamp())), "timing_data.at"),
    "4 decimals": (lambda n, at: timed(at=f"{at:%Y-%m-%dT%H:%M:%S}.12{n:02}Z"), "timing_data.at"),
    "minutes": (lambda n, at: timed(at=f"{at:%Y-%m-%dT%H:}{n:02}"), "timing_data.at"),
    "both": (lambda n, at: timed(at=at.isoformat(timespec=["seconds", "milliseconds"][n % 2])), "timing_data.at"),
    "huge": (lambda n, at: timed(n=10**400 + n), "timing_data.n"),
    "session": (
        lambda n, at: {"prompt": None, "messages": [{"role": "system", "content": f"Session {n}."}, *_user(n)]},
        "instructions",
    ),
    "date": (
        lambda n, at: {"prompt": None, "messages": [{"role": "system", "content": "It is 2026-03-01."}, *_user(n)]},
        "instructions",
    ),
    "name": (lambda n, at: {"prompt": None, "messages": [{"role": "user", "content": "x", "name": "a"}]}, "messages"),
    "other prompt": (lambda n, at: {"prompt": "x", "messages": _user(n)}, "its prompt"),
}


def _user(n: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Why {n}?"}]


@pytest.mark.parametrize(("fields", "why"), BAD.values(), ids=BAD)
def test_what_cannot_be_told_is_not_copied(fields: Fields, why: str) -> None:
    templates, unfit = templates_of(pool(fields))
    assert templates == []
    assert len(unfit) == 1
    assert why in next(iter(unfit))


def test_a_seldom_field_is_not_copied_and_others_are() -> None:
    templates, unfit = templates_of(pool(lambda n, at: timed(hops=3) if n < MIN_ALIKE - 1 else {}))
    assert (len(templates), sum(unfit.values())) == (MANY - MIN_ALIKE + 1, MIN_ALIKE - 1)
    assert templates_of([]) == ([], {})


@pytest.mark.parametrize(
    ("value", "form", "later"),
    [
        (1772366400.25, Form(1.0, 3), 1772368921.707),
        (1772366400250, Form(1e3, 0, whole=True), 1772368921706),
        (1772366400250123, Form(1e6, 0, whole=True), 1772368921706912),
        (1772366400250.0, Form(1e3, 0), 1772368921707.0),
        ("2026-03-01T12:00:00.250Z", Form(1.0, 3, iso=True), "2026-03-01T12:42:01.706Z"),
        ("2026-03-01 12:00:00+00:00", Form(1.0, 0, iso=True), "2026-03-01 12:42:01+00:00"),
        ("2026-03-01T12:00:00.000000", Form(1.0, 6, iso=True), "2026-03-01T12:42:01.456789"),
    ],
)
def test_times_move_along_as_they_are_written(value: Any, form: Form, later: Any) -> None:
    found = moved(value, form, NOW - THEN)
    assert (found, type(found)) == (later, type(value))


def test_ids_are_new() -> None:
    like, body = made(GOOD["hex"])
    new = {body["id"], body["correlation_id"]}
    assert len(new) == 2
    assert not new & {like.request["id"], like.request["correlation_id"]}
    assert uuid.UUID(body["correlation_id"]).version == 4


def test_a_question_is_asked_as_others_were() -> None:
    of_prompts, of_messages = (templates_of(pool(GOOD[name]))[0][0] for name in ("nothing", "messages"))
    assert [fits(PROMPT, of_prompts), fits(PROMPT, of_messages)] == [True, True]
    assert [fits(MESSAGES, of_prompts), fits(MESSAGES, of_messages)] == [False, True]
    body = in_disguise(MESSAGES, of_messages, NOW, Random(7))
    assert body["messages"] == [SYSTEM, {"role": "user", "content": "6 times 7?"}]
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    longer = question_of({"messages": turns, "accepted": [42]})
    assert not fits(longer, of_messages)
    in_turns = templates_of(pool(lambda n, at: {"prompt": None, "messages": turns}))[0][0]
    assert [fits(longer, in_turns), fits(PROMPT, in_turns)] == [True, False]

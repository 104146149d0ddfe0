"""A canary as one of those challenges that were pushed lately: everything that a miner sees is theirs but the question.

A miner is sent prompt, messages, tools, parameters, correlation id, time and timing data; it is not sent the id.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from loosh_pipeline.canaries.questions import Question
from loosh_pipeline.canaries.templates import Form, Path, Template, is_uuid4
from loosh_pipeline.prompts import message_text

MICROSECOND = timedelta(microseconds=1)
FINEST_DIGITS = 6
"""Decimals to which a time is rounded; finer ones are those that a float has anyway."""


def fits(question: Question, like: Template) -> bool:
    """Whether a question can be asked as that challenge was: a prompt as either, messages as messages in that order."""
    if question.messages is None:
        return like.roles in (None, ("user",))
    return like.roles == tuple(each["role"] for each in question.messages)


def in_disguise(question: Question, like: Template, now: datetime, draw: Random) -> dict[str, Any]:
    """The body of a challenge that asks a question and is otherwise like one pushed before, had it come now."""
    request = like.request
    names = ("model", "tools", "tool_choice", "temperature", "top_p", "max_tokens", "status", "requester")
    body = {name: request[name] for name in names if name in request}
    body["prompt"], body["messages"] = _asked(question, like)
    body["id"] = _new_id(str(request["id"]), draw)
    body["created_at"] = now.isoformat()
    if request.get("correlation_id") is not None:
        body["correlation_id"] = _new_id(request["correlation_id"], draw)
    if request.get("metadata"):
        body["metadata"] = _metadata(like, now - like.received_at)
    return body


def _metadata(like: Template, by: timedelta) -> dict[str, Any]:
    """What of it a miner sees something of."""
    given, kept = like.request["metadata"], dict[str, Any]()
    if "model" in given:
        kept["model"] = given["model"]
    if isinstance(given.get("timing_data"), Mapping):
        kept["timing_data"] = _moved(given["timing_data"], like.times, by)
    return kept


def _asked(question: Question, like: Template) -> tuple[str | None, list[Mapping[str, Any]] | None]:
    """The question as prompt and messages, in the form of that challenge."""
    if like.roles is None:
        return question.prompt, None
    texts = [question.prompt or ""] if question.messages is None else _texts(question.messages)
    asked = [_message(of, text) for of, text in zip(like.asked, texts, strict=True)]
    said = like.request.get("prompt")
    return (texts[-1] if said and said.strip() else said), [*like.leading, *asked]


def _texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [message_text(each.get("content")) for each in messages]


def _message(like: Mapping[str, Any], text: str) -> dict[str, Any]:
    content = like["content"]
    return {**like, "content": [{**content[0], "text": text}] if isinstance(content, list) else text}


def _new_id(name: str, draw: Random) -> str:
    """A new id: a UUID, spelled as that one is, if it is one."""
    new = uuid.UUID(int=draw.getrandbits(128), version=4)
    spelled = new.hex if is_uuid4(name) and "-" not in name else str(new)
    return spelled.upper() if name != name.lower() and name == name.upper() else spelled


def _moved(value: Any, times: Mapping[Path, Form], by: timedelta, path: Path = ()) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(each, times, by, (*path, str(name))) for name, each in value.items()}
    form = times.get(path)
    return value if form is None else moved(value, form, by)


def moved(value: Any, form: Form, by: timedelta) -> Any:
    """A time so much later, written as others at its place are."""
    if form.iso:
        at = datetime.fromisoformat(value) + by
        precision = {0: "seconds", 3: "milliseconds"}.get(form.digits, "microseconds")
        text = at.isoformat(sep=value[10], timespec=precision)
        return text.replace("+00:00", "Z") if value.endswith("Z") else text
    if form.whole:
        return value + by // MICROSECOND * int(form.scale) // 1_000_000
    later = value + by.total_seconds() * form.scale
    return round(later, form.digits) if form.digits <= FINEST_DIGITS else later

"""A canary as one of those challenges that were pushed lately: everything that a miner sees is theirs but the question.

A miner is sent prompt, messages, tools, parameters, correlation id, time and timing data; it is not sent the id.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from loosh_pipeline.canaries.questions import Question
from loosh_pipeline.prompts import message_text

NEAR_S = 24 * 3600.0
"""A number or text in metadata this near to the time of receipt, as a time, is one, and moves along."""
SCALES = (1.0, 1e3, 1e6, 1e9)
"""Seconds, milliseconds, and so on since 1970."""
PRECISION = {0: "seconds", 3: "milliseconds"}
FRACTION = re.compile(r"\.(\d+)", re.ASCII)
DATED = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*", re.ASCII)


def in_disguise(
    question: Question, like: Mapping[str, Any], received_at: datetime, now: datetime, draw: Random
) -> dict[str, Any]:
    """The body of a challenge that asks a question and is otherwise like one received then, had it come now."""
    moved: dict[str, Any] = {name: _moved(value, received_at, now - received_at) for name, value in like.items()}
    moved["prompt"], moved["messages"] = _asked(question, like)
    moved["id"] = _like(str(like["id"]), draw)
    if like.get("correlation_id") is not None:
        moved["correlation_id"] = _like(like["correlation_id"], draw)
    return moved


def _asked(question: Question, like: Mapping[str, Any]) -> tuple[str | None, list[Mapping[str, Any]] | None]:
    """The question as prompt and messages, in the form of that challenge; one that has messages is asked in them."""
    there = like.get("messages")
    if question.messages is not None:
        messages, text = list(question.messages), _last_of_user(question.messages)
    elif there:
        text = question.prompt or ""
        messages = [*_as_messages(there, text)]
    else:
        return question.prompt, None
    said = like.get("prompt") if there else None
    return (text if said and said.strip() else said), messages


def _last_of_user(messages: Sequence[Mapping[str, Any]]) -> str:
    return next(message_text(each.get("content")) for each in reversed(messages) if each.get("role") == "user")


def _as_messages(like: Sequence[Mapping[str, Any]], prompt: str) -> tuple[Mapping[str, Any], ...]:
    """The instructions that stand before the first question, then this one, written as the last one was."""
    leading: list[Mapping[str, Any]] = []
    for each in like:
        if each.get("role") not in ("system", "developer"):
            break
        leading.append(each)
    asked = next((each for each in reversed(like) if each.get("role") == "user"), {"role": "user"})
    in_parts = isinstance(asked.get("content"), list)
    content: Any = [{"type": "text", "text": prompt}] if in_parts else prompt
    return (*leading, {**asked, "content": content})


def _like(name: str, draw: Random) -> str:
    """A new id: a UUID, spelled as that one is."""
    new = uuid.UUID(int=draw.getrandbits(128), version=4)
    spelled = new.hex if "-" not in name else str(new)
    return spelled.upper() if name != name.lower() and name == name.upper() else spelled


def _moved(value: Any, received_at: datetime, by: timedelta) -> Any:
    """A value with every time in it that is near the time of receipt moved on."""
    if isinstance(value, Mapping):
        return {key: _moved(each, received_at, by) for key, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, received_at, by) for each in value]
    if isinstance(value, str):
        return _moved_text(value, received_at, by)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _moved_number(value, received_at, by)
    return value


def _moved_number(value: float, received_at: datetime, by: timedelta) -> float:
    for scale in SCALES:
        if abs(value / scale - received_at.timestamp()) < NEAR_S:
            moved = value + by.total_seconds() * scale
            return round(moved) if isinstance(value, int) else moved
    return value


def _moved_text(text: str, received_at: datetime, by: timedelta) -> str:
    if not DATED.fullmatch(text):
        return text
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    if abs((at if at.tzinfo else at.replace(tzinfo=UTC)) - received_at).total_seconds() >= NEAR_S:
        return text
    fraction = FRACTION.search(text)
    digits = len(fraction[1]) if fraction else 0
    moved = (at + by).isoformat(sep=text[10], timespec=PRECISION.get(digits, "microseconds"))
    return moved.replace("+00:00", "Z") if text.endswith("Z") else moved

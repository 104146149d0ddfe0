"""What was asked in a round, as its page shows it: pure functions over the request as it was stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingress.pages.passages import Passage, cut, passage
from loosh_pipeline.prompts import message_text
from loosh_pipeline.requests import DEFAULT_MAX_TOKENS, DEFAULT_MODEL, DEFAULT_TEMPERATURE, DEFAULT_TOP_P

PROMPT_ROOM = 8_000
MESSAGES_ROOM = 12_000
"""Bytes of a page that all messages of a conversation may take together."""
MOST_MESSAGES = 24
PARAMETER_ROOM = 600
DEFAULTS: Mapping[str, Any] = {
    "model": DEFAULT_MODEL,
    "max_tokens": DEFAULT_MAX_TOKENS,
    "temperature": DEFAULT_TEMPERATURE,
    "top_p": DEFAULT_TOP_P,
}
OTHERS = ("tools", "tool_choice", "correlation_id", "requester", "metadata")


@dataclass(frozen=True, slots=True)
class Message:
    """One of a conversation."""

    role: str
    text: Passage


@dataclass(frozen=True, slots=True)
class Parameter:
    """`given`: it stood in the request, and is no default."""

    name: str
    value: str
    given: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """The prompt, or else the conversation whose last message of a user answers are held against."""

    prompt: Passage | None
    messages: tuple[Message, ...]
    more_messages: int
    parameters: tuple[Parameter, ...]


def asked_of(request: Mapping[str, Any]) -> Asked:
    """What a stored request asks, whatever release stored it."""
    prompt, messages = request.get("prompt"), _messages(request)
    room = MESSAGES_ROOM // max(1, min(len(messages), MOST_MESSAGES))
    # The last ones: by these the answers are judged.
    shown = messages[-MOST_MESSAGES:]
    return Asked(
        prompt=passage(prompt, PROMPT_ROOM) if isinstance(prompt, str) and prompt.strip() else None,
        messages=tuple(Message(cut(str(each.get("role", "?")), 40), _said(each, room)) for each in shown),
        more_messages=len(messages) - len(shown),
        parameters=tuple(_parameters(request)),
    )


def _messages(request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = request.get("messages") or ()
    return [each for each in found if isinstance(each, Mapping)]


def _said(message: Mapping[str, Any], room: int) -> Passage:
    """Its text; what is no text, such as calls of tools, as JSON."""
    text = message_text(message.get("content"))
    others = {name: value for name, value in message.items() if name not in ("role", "content") and value is not None}
    parts = [text] if text or not others else []
    parts += [json.dumps(others, ensure_ascii=False)] if others else []
    return passage("\n".join(parts), room)


def _parameters(request: Mapping[str, Any]) -> Iterator[Parameter]:
    metadata = request.get("metadata")
    named = metadata.get("model") if isinstance(metadata, Mapping) else None
    for name, default in DEFAULTS.items():
        given = request.get(name)
        if name == "model":
            given = given or named
        yield Parameter(name, _written(default if given in (None, "") else given), given not in (None, ""))
    for name in OTHERS:
        if request.get(name) not in (None, {}, []):
            yield Parameter(name, _written(request[name]), given=True)


def _written(value: Any) -> str:
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), PARAMETER_ROOM)

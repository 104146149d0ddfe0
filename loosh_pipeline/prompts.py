"""What of a request answers are evaluated against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def evaluated_prompt(prompt: str | None, messages: Sequence[Mapping[str, Any]] | None) -> str:
    """The prompt, or the text of the last user message when there is none."""
    if prompt and prompt.strip():
        return prompt
    users = [message for message in messages or () if message.get("role") == "user"]
    return message_text(users[-1].get("content")) if users else ""


def message_text(content: Any) -> str:
    """Text of a chat message: a string, or the text parts of a list of content parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""

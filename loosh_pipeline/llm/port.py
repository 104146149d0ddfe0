"""What is asked of a language model, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from loosh_pipeline.llm.config import LLMConfig


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation with a model."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a generation took, as its server counts them; None where it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model said. `model` is what the server calls it; `elapsed_ms` counts every try."""

    text: str
    usage: Usage
    finish_reason: str
    model: str
    elapsed_ms: float


class Model(Protocol):
    """One language model, asked by code that waits for the answer."""

    @property
    def config(self) -> LLMConfig: ...

    def generate(self, messages: Sequence[Message]) -> Generation:
        """What the model says. Raises LLMError when it cannot be asked, or says nothing of use."""
        ...

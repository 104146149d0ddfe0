"""A model that says what it is told to, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loosh_pipeline.errors import LLMError
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.port import Generation, Message, Usage

CONFIG = LLMConfig(provider="ollama", model="scripted")


@dataclass
class ScriptedModel:
    """Implements `Model`: gives its answers one after the other, the last one for good, and keeps what it was asked."""

    answers: list[str | Generation | LLMError]
    config: LLMConfig = CONFIG
    asked: list[tuple[Message, ...]] = field(default_factory=list)

    def generate(self, messages: Sequence[Message]) -> Generation:
        self.asked.append(tuple(messages))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, LLMError):
            raise answer
        if isinstance(answer, Generation):
            return answer
        return Generation(answer, Usage(120, 30, 150), "stop", self.config.model, 12.5)

"""Reading what a server answered: nothing of it is taken for granted."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import httpx2
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from loosh_pipeline.errors import LLMAnswerUnusable
from loosh_pipeline.llm.port import Generation, Usage
from loosh_pipeline.wire.text import printable

MAX_TEXT_CHARS = 16_000
MAX_NAME_CHARS = 100
MAX_COUNT = 2**31 - 1

Answer = TypeVar("Answer", bound=BaseModel)

_REASONING = re.compile(r"\A\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_END_OF_REASONING = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)


class _Part(BaseModel):
    text: str = ""


class _Said(BaseModel):
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        """Some servers answer a text in parts."""
        return "".join(part.text for part in self.content) if isinstance(self.content, list) else self.content or ""


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


def _count_or_none(value: object) -> int | None:
    """A text is not lost for a server that counts wrongly."""
    return value if isinstance(value, int) and 0 <= value <= MAX_COUNT else None


_Count = Annotated[int | None, BeforeValidator(_count_or_none)]


class _Counts(BaseModel):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    total_tokens: _Count = None


class _Completion(BaseModel):
    model: str = ""
    choices: list[_Choice] = Field(min_length=1)
    usage: _Counts | None = None


class _Card(BaseModel):
    id: str


class _Cards(BaseModel):
    data: list[_Card]


def read_answer(response: httpx2.Response, asked: str, elapsed_ms: float) -> Generation:
    """What `asked` said, without what it said to itself. Raises LLMAnswerUnusable for what is no chat completion."""
    completion = _read(_Completion, response, asked)
    choice, counts = completion.choices[0], completion.usage or _Counts()
    return Generation(
        text=without_reasoning(choice.message.text).strip()[:MAX_TEXT_CHARS],
        usage=Usage(counts.prompt_tokens, counts.completion_tokens, counts.total_tokens),
        finish_reason=one_line(choice.finish_reason or "", MAX_NAME_CHARS),
        model=one_line(completion.model, MAX_NAME_CHARS) or asked,
        elapsed_ms=elapsed_ms,
    )


def read_models(response: httpx2.Response, asked: str) -> tuple[str, ...]:
    """Names of the models that the server of `asked` lists. Raises LLMAnswerUnusable for what is no such list."""
    return tuple(one_line(card.id, MAX_NAME_CHARS) for card in _read(_Cards, response, asked).data)


def _read(kind: type[Answer], response: httpx2.Response, asked: str) -> Answer:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "JSON"
        raise LLMAnswerUnusable(
            f"the server of model {asked!r} answered what cannot be read ({where}: {one_line(wrong['msg'])}); is "
            "LLM_API_URL the address of an OpenAI-compatible API?"
        ) from error


def without_reasoning(text: str) -> str:
    """What follows the last thought that is marked as one; nothing when a thought was begun and not ended."""
    *thoughts, said = _END_OF_REASONING.split(text)
    return "" if not thoughts and _REASONING.match(text) else said


def one_line(text: str, most_chars: int = 200) -> str:
    """`text` for a log or an error: printable, on one line, and bounded."""
    return printable(" ".join(text[: 4 * most_chars].split()), most_chars)

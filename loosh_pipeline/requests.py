"""A challenge as it is requested, and as it is understood.

Field names, defaults and the order of resolution are the existing network's. What can never be scored is refused
here, with the reason, before anything is promised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationInfo, field_validator, model_validator

from loosh_pipeline.domain import Challenge, ChallengeId
from loosh_pipeline.prompts import evaluated_prompt, message_text

DEFAULT_MODEL = "Qwen/Qwen2.5-32B-Instruct"
DEFAULT_MAX_TOKENS = 12_288
DEFAULT_TEMPERATURE = 0.7
DEFAULT_TOP_P = 0.95
MAX_ID_CHARS = 128
MAX_NAME_CHARS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a request may be; see the settings of the same names. What was stored is bound by none of them."""

    prompt_chars: int = 200_000
    message_chars: int = 200_000
    """Text of one message; what is no text counts towards `json_chars`."""
    json_chars: int = 2_000_000
    """Characters of messages, tools, tool_choice and metadata together, as JSON."""
    json_depth: int = 64
    tokens: int = 131_072


DEFAULT_LIMITS = Limits()
NO_LIMITS = Limits(*[2**63 - 1] * 5)
LIMITS = "limits"
"""Key of the validation context under which `Limits` are given; without them, the defaults hold."""

ChallengeIdText = Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID_CHARS)]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Prompt = Annotated[str, Field(max_length=2**31 - 1)]
"""Counting characters is what makes pydantic refuse a lone surrogate; how many are taken is in `Limits`."""

NOTHING_FREE = (None, None, None, None)


class ChallengeRequest(BaseModel):
    """Body of POST /challenges. Unknown fields are ignored, as the network's senders expect."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), allow_inf_nan=False)

    id: ChallengeIdText = Field(description="Unique id; a second challenge of the same id is refused with 409.")
    correlation_id: Name | None = None
    prompt: Prompt | None = Field(None, description="What miners are to answer, unless `messages` say it.")
    messages: list[dict[str, Any]] | None = Field(None, description="OpenAI chat messages.")
    model: Name | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=2**63 - 1)
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    status: Name = "available"
    requester: Name | None = None

    @field_validator("id")
    @classmethod
    def _usable_as_partition_key(cls, value: str) -> str:
        if not value.isprintable() or "..." in value:
            raise ValueError("id must be printable and must not contain '...'; send a UUID")
        return value

    @field_validator("created_at")
    @classmethod
    def _representable_in_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value if value is None or value.tzinfo is None else value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(f"created_at {value} lies outside the years 1 to 9999 in UTC") from error

    @field_validator("prompt")
    @classmethod
    def _prompt_within(cls, value: str | None, info: ValidationInfo) -> str | None:
        _at_most(len(value or ""), _limits(info).prompt_chars, "the prompt has {} characters", "characters")
        return value

    @field_validator("max_tokens")
    @classmethod
    def _tokens_within(cls, value: int | None, info: ValidationInfo) -> int | None:
        _at_most(value or 0, _limits(info).tokens, "max_tokens is {}", "tokens")
        return value

    @model_validator(mode="after")
    def _can_be_scored(self, info: ValidationInfo) -> Self:
        if not self.evaluated_prompt().strip():
            raise ValueError("nothing to answer: prompt is empty and no message of role 'user' has text; send either")
        limits = _limits(info)
        _at_most(
            self._json_chars(),
            limits.json_chars,
            "messages, tools, tool_choice and metadata are {} characters of JSON",
            "characters",
        )
        longest = max((len(message_text(message.get("content"))) for message in self.messages or ()), default=0)
        _at_most(longest, limits.message_chars, "a message has {} characters of text", "characters")
        return self

    def _json_chars(self) -> int:
        """How long the JSON of the free-form fields is.

        Raises ValueError for what could be accepted, yet never stored, sent or embedded.
        """
        free = (self.messages, self.tools, self.tool_choice, self.metadata)
        if free == NOTHING_FREE:
            return 0
        try:
            text = json.dumps(free, allow_nan=False, ensure_ascii=False)
            text.encode()
            self.model_dump(mode="json")
        except (ValueError, RecursionError) as error:
            raise ValueError(
                "the request must be plain JSON: no NaN, no lone surrogates, not nested deeper than can be stored"
            ) from error
        return len(text)

    def evaluated_prompt(self) -> str:
        """The prompt, or the text of the last user message when there is none."""
        return evaluated_prompt(self.prompt, self.messages)

    def stored(self, received_at: datetime) -> dict[str, Any]:
        """The JSON that is kept, and returned upstream as `original_request`."""
        created_at = self.created_at or received_at
        return self.model_dump(mode="json") | {"created_at": created_at.isoformat()}


def _limits(info: ValidationInfo) -> Limits:
    given = (info.context or {}).get(LIMITS, DEFAULT_LIMITS)
    assert isinstance(given, Limits)
    return given


def _at_most(found: int, most: int, what: str, unit: str) -> None:
    if found > most:
        raise ValueError(f"{what.format(found)}; at most {most} {unit} are taken, so send less")


def resolve_challenge(request: Mapping[str, Any], received_at: datetime) -> Challenge:
    """A stored request with every parameter resolved, in the network's order of precedence."""
    body = ChallengeRequest.model_validate(request, context={LIMITS: NO_LIMITS})
    metadata = body.metadata or {}
    named = metadata.get("model")
    timing = metadata.get("timing_data")
    return Challenge(
        id=ChallengeId(body.id),
        prompt=body.evaluated_prompt(),
        model=body.model or (named if isinstance(named, str) and named else DEFAULT_MODEL),
        max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        temperature=DEFAULT_TEMPERATURE if body.temperature is None else body.temperature,
        top_p=DEFAULT_TOP_P if body.top_p is None else body.top_p,
        received_at=received_at,
        messages=tuple(body.messages) if body.messages else None,
        tools=tuple(body.tools) if body.tools else None,
        tool_choice=body.tool_choice,
        correlation_id=body.correlation_id,
        timing_data=timing if isinstance(timing, Mapping) else None,
        original=request,
    )

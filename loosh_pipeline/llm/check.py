"""Whether the configured model answers, for whoever set it up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from loosh_pipeline.errors import LLMAnswerEmpty, LLMError, LLMRefused
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.configured import llm_config
from loosh_pipeline.llm.port import Message
from loosh_pipeline.llm.service import LLMService
from loosh_pipeline.settings import Settings

ASKED = (Message("user", "Answer OK."),)
MOST_LISTED = 10


def check_llm(settings: Settings) -> str | None:
    """Ask the configured model for one token; which it is, and how it did. None when there is no model.

    Raises LLMError that says what is wrong and what to do, and ConfigError for settings that contradict.
    """
    config = llm_config(settings)
    if config is None and settings.enable_narrative_generation and settings.llm_model:
        raise LLMError(
            f"LLM_MODEL is {settings.llm_model!r}, but neither LLM_API_KEY, for OpenAI, nor LLM_API_URL, for another "
            "server, is set, so that no model is asked; set one of them, or unset LLM_MODEL"
        )
    return None if config is None else asyncio.run(_check(config))


async def _check(config: LLMConfig) -> str:
    async with LLMService() as service:
        service.register_llm("briefly", replace(config, max_tokens=1))
        service.register_llm("as configured", config)
        try:
            with suppress(LLMRefused):  # some that reason first do, where there is no room for it
                await _answers(service, "briefly")
                return f"{_named(config)} answers"
            await _answers(service, "as configured")
        except LLMRefused as error:
            raise LLMRefused(f"{error}{await _what_it_has(service, config)}") from None
    return f"{_named(config)} answers"


async def _answers(service: LLMService, name: str) -> None:
    """Whether a model answers at all; of one token nothing may be left to read."""
    with suppress(LLMAnswerEmpty):
        await service.generate(name, ASKED)


async def _what_it_has(service: LLMService, config: LLMConfig) -> str:
    """What a server lists, where it lists models and not the one that was asked for."""
    try:
        listed = await service.listed("as configured")
    except LLMError:  # told already, by the error that this is added to
        return ""
    if config.model in listed or not listed:
        return ""
    return f"; it lists {', '.join(listed[:MOST_LISTED])}" + (", …" if len(listed) > MOST_LISTED else "")


def _named(config: LLMConfig) -> str:
    return f"{config.model} at {config.endpoint.root} ({config.provider})"

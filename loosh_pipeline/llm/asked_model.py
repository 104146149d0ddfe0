"""One model behind its provider's HTTP API."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import httpx2
import openai

from loosh_pipeline.errors import LLMAnswerEmpty
from loosh_pipeline.llm.answers import read_answer, read_models
from loosh_pipeline.llm.clients import client_for
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.failures import explained, may_pass, refused_parameter, retry_after_s
from loosh_pipeline.llm.port import Generation, Message
from loosh_pipeline.llm.transport import OverlongAnswer

MOST_TRIES = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0

FAILURES = (TimeoutError, openai.OpenAIError, OverlongAnswer)


class AskedModel:
    """Asks the model of a config, again where that may help, and learns which of our parameters it does not take."""

    def __init__(self, config: LLMConfig) -> None:
        self._config = config
        self._parameters = config.parameters()
        self._client = client_for(config)

    async def generate(self, messages: Sequence[Message]) -> Generation:
        """What the model says. Raises LLMError that says what went wrong and what to do."""
        began_s = time.monotonic()
        failed: list[openai.APIError] = []
        try:
            async with asyncio.timeout(self._config.timeout_s):
                response = await self._answer([asdict(message) for message in messages], began_s, failed)
        except FAILURES as error:
            # what a server says may repeat the key, so that no error goes on that holds it
            raise explained(_telling(error, failed), self._config) from None
        said = read_answer(response, self._config.model, (time.monotonic() - began_s) * 1000)
        if not said.text:
            raise LLMAnswerEmpty(
                f"model {self._config.model!r} answered an empty text (finish_reason {said.finish_reason or 'none'}); "
                "one that reasons first needs a higher LLM_MAX_TOKENS; else try another model"
            )
        return said

    async def listed(self) -> tuple[str, ...]:
        """Names of the models that its server lists. Raises LLMError."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return read_models(await self._client.get("/models", cast_to=httpx2.Response), self._config.model)
        except FAILURES as error:
            raise explained(error, self._config) from None

    async def aclose(self) -> None:
        await self._client.close()

    async def _answer(
        self, messages: list[dict[str, Any]], began_s: float, failed: list[openai.APIError]
    ) -> httpx2.Response:
        """What is answered at last; every try before that `failed`."""
        for tries in range(1, MOST_TRIES):
            try:
                return await self._try(messages)
            except openai.APIError as error:
                failed.append(error)
                if self._adapted(error):
                    continue
                pause_s = _pause_s(error, tries)
                left_s = began_s + self._config.timeout_s - time.monotonic()
                if not may_pass(error) or pause_s >= left_s:
                    raise
                await asyncio.sleep(pause_s)
        return await self._try(messages)

    async def _try(self, messages: list[dict[str, Any]]) -> httpx2.Response:
        body = {**self._parameters, "messages": messages}
        return await self._client.post("/chat/completions", cast_to=httpx2.Response, body=body)

    def _adapted(self, error: openai.APIError) -> bool:
        """Whether a parameter that the model does not take was left out or renamed, so that it is asked at once."""
        name = refused_parameter(error)
        if name is None or name not in self._parameters:
            return False
        value = self._parameters.pop(name)
        if name == "max_tokens":
            self._parameters["max_completion_tokens"] = value
        return True


def _telling(error: Exception, failed: list[openai.APIError]) -> Exception:
    """The failure to tell of: where nobody was reached until the time was over, why not, and not that it was over."""
    over = isinstance(error, TimeoutError) and failed and isinstance(failed[-1], openai.APIConnectionError)
    return failed[-1] if over else error


def _pause_s(error: openai.APIError, tries: int) -> float:
    """How long to wait after so many tries: as long as the server says, else a little longer each time."""
    if (told_s := retry_after_s(error)) is not None:
        return told_s
    return min(FIRST_PAUSE_S * 2.0 ** (tries - 1), LONGEST_PAUSE_S) * random.uniform(0.75, 1.0)

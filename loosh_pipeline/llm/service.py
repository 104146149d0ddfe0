"""Asking language models by name: every try of a generation within one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Self

from loosh_pipeline.errors import LLMError, UnknownLLM
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.port import Generation, Message

if TYPE_CHECKING:
    from loosh_pipeline.llm.asked_model import AskedModel


class LLMService:
    """Language models that are known by name, asked over their providers' HTTP APIs.

    `await initialize()` first; `register_llm` makes a model known by a name; `aclose` closes every connection, as
    leaving an `async with` does. All of it belongs to one event loop.
    """

    def __init__(self) -> None:
        self._configs: dict[str, LLMConfig] = {}
        self._asked: dict[str, AskedModel] = {}
        self._ready = False

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def initialize(self) -> None:
        """Load the client, which takes a third of a second, without holding up the event loop. Twice does no harm."""
        if not self._ready:
            await asyncio.to_thread(import_module, "loosh_pipeline.llm.asked_model")
            self._ready = True

    def register_llm(self, name: str, llm_config: LLMConfig) -> None:
        """Make a model known by `name`. Raises LLMError for a name that another model has."""
        if self._configs.setdefault(name, llm_config) != llm_config:
            raise LLMError(f"another model is registered as {name!r} already; use another name")

    async def generate(self, name: str, messages: Sequence[Message] | str) -> Generation:
        """What the model of this name says to `messages`, or to a user's one, within its `timeout_s`.

        Raises UnknownLLM; LLMUnreachable when it does not answer in time; LLMRefused when it will not; and
        LLMAnswerUnusable when it says nothing, or nothing that can be read.
        """
        said = (Message("user", messages),) if isinstance(messages, str) else messages
        return await self._model(name).generate(said)

    async def listed(self, name: str) -> tuple[str, ...]:
        """Names of the models that the server of this one lists. Raises LLMError like `generate`."""
        return await self._model(name).listed()

    async def aclose(self) -> None:
        """Close every connection. Models stay registered; `initialize` again before they are asked."""
        asked, self._asked, self._ready = self._asked, {}, False
        for model in asked.values():
            await model.aclose()

    def _model(self, name: str) -> AskedModel:
        if (config := self._configs.get(name)) is None:
            known = ", ".join(map(repr, sorted(self._configs))) or "none"
            raise UnknownLLM(f"no model is registered as {name!r}; registered: {known}. Use register_llm first")
        if not self._ready:
            raise LLMError(f"model {name!r} cannot be asked: the service is not initialized; await initialize() first")
        from loosh_pipeline.llm.asked_model import AskedModel

        if name not in self._asked:
            self._asked[name] = AskedModel(config)
        return self._asked[name]

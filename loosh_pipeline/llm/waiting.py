"""A language model asked by code that waits for the answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from loosh_pipeline.errors import LLMError, LLMUnreachable
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.port import Generation, Message
from loosh_pipeline.llm.service import LLMService

NAME = "asked"
LOADING_S = 60.0
"""Loading the client takes a third of a second, more on a busy machine, and asks nobody."""
GRACE_S = 5.0
"""What a busy machine may need beyond the deadline, before a resolver is taken to hang that cannot be interrupted."""


class WaitingLLM:
    """Implements `Model`: one model of an LLMService, whose event loop runs in a thread of its own.

    So whoever waits goes on when the time is over, whatever the network does, and connections are kept. The thread is
    started by the first question. Safe between threads; not to be taken through a fork once it was asked.
    """

    def __init__(self, config: LLMConfig) -> None:
        self.config = config
        self._service = LLMService()
        self._service.register_llm(NAME, config)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def generate(self, messages: Sequence[Message]) -> Generation:
        loop = self._running()
        loading = asyncio.run_coroutine_threadsafe(self._service.initialize(), loop)
        try:
            loading.result(LOADING_S)
        except TimeoutError:
            loading.cancel()
            raise LLMError(
                f"model {self.config.model!r} cannot be asked: its client was not loaded within {LOADING_S:g} s; is "
                "this machine overloaded, or its disk dead?"
            ) from None
        asked = asyncio.run_coroutine_threadsafe(self._service.generate(NAME, messages), loop)
        try:
            return asked.result(self.config.timeout_s + GRACE_S)
        except TimeoutError:
            asked.cancel()
            raise LLMUnreachable(
                f"model {self.config.model!r} at {self.config.endpoint.root} did not answer within "
                f"{self.config.timeout_s:g} s, nor could it be given up; does its name resolve?"
            ) from None

    def close(self) -> None:
        """Close its connections and end its thread; asked again, it starts anew."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._service.aclose(), loop).result(GRACE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GRACE_S)
        loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
                self._thread.start()
            return self._loop

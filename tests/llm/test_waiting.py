"""A model asked by code that waits: as long as the deadline, whatever the network does."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from loosh_pipeline.errors import LLMError, LLMUnreachable
from loosh_pipeline.llm import waiting
from loosh_pipeline.llm.breaker import Breaker
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.port import Message
from loosh_pipeline.llm.service import LLMService
from loosh_pipeline.llm.waiting import WaitingLLM
from tests.llm.server import ChatServer, Reply

ASKED = (Message("user", "How was it?"),)


def config(chat: ChatServer, **fields: Any) -> LLMConfig:
    return LLMConfig(**({"provider": "ollama", "model": "m", "api_base": chat.root} | fields))


def test_many_threads_ask_one_after_the_other_or_at_once(chat: ChatServer) -> None:
    with WaitingLLM(config(chat)) as model, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: model.generate(ASKED).text, range(8)))
    assert answers == ["A calm round."] * 8
    assert [thread.name for thread in threading.enumerate() if thread.name == "llm"] == []


def test_one_that_was_never_asked_has_nothing_to_close(chat: ChatServer) -> None:
    WaitingLLM(config(chat)).close()
    assert chat.asked == []


def test_one_that_was_closed_can_be_asked_again(chat: ChatServer) -> None:
    model = WaitingLLM(config(chat))
    for _ in range(2):
        assert model.generate(ASKED).text == "A calm round."
        model.close()


def test_whoever_waits_goes_on_at_the_deadline(chat: ChatServer) -> None:
    chat.script = [Reply(hang=True)]
    began_s = time.monotonic()
    with WaitingLLM(config(chat, timeout_s=0.2)) as model, pytest.raises(LLMUnreachable, match=r"0.2 s; see"):
        model.generate(ASKED)
    assert time.monotonic() - began_s < 20


def test_whoever_waits_goes_on_where_nothing_can_be_interrupted(
    chat: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver of names hangs in the operating system, and a loop that ends waits for it."""
    stuck, monkey = threading.Event(), asyncio.BaseEventLoop

    async def resolve(self: asyncio.BaseEventLoop, *_: object, **__: object) -> object:
        return await asyncio.shield(self.run_in_executor(None, stuck.wait, 30))

    monkeypatch.setattr(monkey, "getaddrinfo", resolve)
    monkeypatch.setattr(waiting, "GRACE_S", 1.0)
    began_s = time.monotonic()
    model = WaitingLLM(config(chat, api_base="http://nowhere.test", timeout_s=0.2))
    try:
        with pytest.raises(LLMUnreachable, match=r"did not answer within 0.2 s"):
            model.generate(ASKED)
        assert time.monotonic() - began_s < 20
    finally:
        stuck.set()
        model.close()


def test_whoever_waits_goes_on_where_the_client_cannot_be_loaded(
    chat: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: LLMService) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(LLMService, "initialize", hang)
    monkeypatch.setattr(waiting, "LOADING_S", 0.05)
    with WaitingLLM(config(chat)) as model, pytest.raises(LLMError, match=r"not loaded within 0.05 s"):
        model.generate(ASKED)


def test_a_breaker_opens_after_failures_in_a_row_and_tries_once_after_a_while() -> None:
    now_s = 100.0
    breaker = Breaker(most_failures=3, pause_s=60, now_s=lambda: now_s)
    for _ in range(2):
        breaker.failed()
    assert not breaker.is_open()
    breaker.answered()
    for _ in range(3):
        assert not breaker.is_open()
        breaker.failed()
    assert breaker.is_open()
    now_s = 160.0
    assert not breaker.is_open(), "the pause is over"
    breaker.failed()
    assert breaker.is_open(), "one failure more"
    now_s = 230.0
    breaker.answered()
    breaker.failed()
    assert not breaker.is_open()

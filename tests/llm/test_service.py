"""Models by name over real sockets: what is sent, what is read, what is tried again, and when it is given up."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any

import pytest

from loosh_pipeline.errors import (
    LLMAnswerEmpty,
    LLMAnswerUnusable,
    LLMError,
    LLMRefused,
    LLMUnreachable,
    UnknownLLM,
)
from loosh_pipeline.llm import asked_model
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.port import Generation, Message, Usage
from loosh_pipeline.llm.service import LLMService
from loosh_pipeline.llm.transport import MAX_ANSWER_BYTES
from tests.llm.server import ChatServer, Reply, refused, said

ASKED = (Message("system", "Be brief."), Message("user", "How was it?"))
SECRET = "sk-hunter2"


def ask(chat: ChatServer, times: int = 1, **fields: Any) -> Generation:
    return ask_at(
        **({"provider": "openai", "model": "llama", "api_base": chat.url, "timeout_s": 5} | fields), times=times
    )


def ask_at(times: int = 1, **fields: Any) -> Generation:
    async def asking() -> Generation:
        async with LLMService() as service:
            service.register_llm("mine", LLMConfig(**fields))
            for _ in range(times - 1):
                await service.generate("mine", ASKED)
            return await service.generate("mine", ASKED)

    return asyncio.run(asking())


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_model, "FIRST_PAUSE_S", 0.01)


def test_a_model_is_asked_by_its_name(chat: ChatServer) -> None:
    answer = ask(chat, api_key=SECRET, provider_specific_params={"seed": 7})
    assert answer.text == "A calm round."
    assert (answer.usage, answer.finish_reason, answer.model) == (Usage(11, 7, 18), "stop", "served-model")
    assert 0 < answer.elapsed_ms < 5000
    (asked,) = chat.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert asked.body == {
        "model": "llama",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How was it?"}],
        "max_tokens": 500,
        "temperature": 0.2,
        "seed": 7,
    }


def test_azure_is_asked_for_a_deployment_and_a_version(chat: ChatServer) -> None:
    params = {"deployment": "fast", "api_version": "2024-10-21"}
    ask(chat, provider="azure_openai", api_base=chat.root, api_key=SECRET, provider_specific_params=params)
    (asked,) = chat.asked
    assert asked.path == "/openai/deployments/fast/chat/completions?api-version=2024-10-21"
    assert asked.headers["api-key"] == SECRET
    assert asked.body["model"] == "fast"
    assert not {"deployment", "api_version"} & asked.body.keys()


def test_azures_newer_api_is_asked_as_openais(chat: ChatServer) -> None:
    ask(chat, provider="azure_openai", api_base=f"{chat.root}/openai/v1/", api_key=SECRET)
    (asked,) = chat.asked
    assert (asked.path, asked.headers["authorization"]) == ("/openai/v1/chat/completions", f"Bearer {SECRET}")


@pytest.mark.parametrize("suffix", ["", "/v1", "/v1/", "/api/chat"])
def test_ollama_is_asked_without_a_key(chat: ChatServer, suffix: str) -> None:
    ask(chat, provider="ollama", api_base=chat.root + suffix)
    assert [asked.path for asked in chat.asked] == ["/v1/chat/completions"]


def test_nothing_of_the_environment_is_used_or_sent(chat: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    elsewhere = {"OPENAI_API_KEY": "sk-env", "OPENAI_ORG_ID": "sk-env", "OPENAI_PROJECT_ID": "sk-env"}
    elsewhere |= {"OPENAI_BASE_URL": "http://127.0.0.1:1", "AZURE_OPENAI_AD_TOKEN": "sk-env"}
    elsewhere |= {"OPENAI_CUSTOM_HEADERS": "Authorization: sk-env\nX-Mine: sk-env", "OPENAI_ADMIN_KEY": "sk-env"}
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    ask(chat)
    params = {"api_version": "2024-10-21"}
    ask(chat, provider="azure_openai", api_base=chat.root, api_key=SECRET, provider_specific_params=params)
    assert len(chat.asked) == 2
    assert "sk-env" not in repr(chat.asked)
    assert "authorization" not in chat.asked[0].headers, "without a key none is sent"
    assert (chat.asked[1].headers["api-key"], "authorization" in chat.asked[1].headers) == (SECRET, False)
    assert [name for name in chat.asked[0].headers if name.startswith("x-")] == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(chat: ChatServer, status: int) -> None:
    chat.script = [refused(status), refused(status), said("at last")]
    assert ask(chat).text == "at last"
    assert len(chat.asked) == 3


def test_it_is_not_tried_for_ever(chat: ChatServer) -> None:
    chat.script = [refused(503, "overloaded")]
    with pytest.raises(LLMUnreachable, match=r"is busy or broken: Error code: 503 - overloaded"):
        ask(chat)
    assert len(chat.asked) == asked_model.MOST_TRIES


def test_a_server_that_wants_us_to_wait_is_obeyed(chat: ChatServer) -> None:
    chat.script = [refused(429, headers={"Retry-After": "0.3"}), said("thanks")]
    began_s = time.monotonic()
    answer = ask(chat)
    assert time.monotonic() - began_s >= 0.3
    assert answer.elapsed_ms >= 300


@pytest.mark.parametrize("after", ["60", "Fri, 31 Dec 2100 23:59:59 GMT", "inf"])
def test_one_that_wants_us_to_wait_beyond_the_deadline_is_given_up_at_once(chat: ChatServer, after: str) -> None:
    chat.script = [refused(429, "slow down", headers={"Retry-After": after})]
    began_s = time.monotonic()
    with pytest.raises(LLMUnreachable, match="slow down"):
        ask(chat)
    assert time.monotonic() - began_s < 20
    assert len(chat.asked) == 1


@pytest.mark.parametrize("after", ["soon", "nan", "", "-5"])
def test_a_wish_that_cannot_be_read_is_none(chat: ChatServer, after: str) -> None:
    chat.script = [refused(429, headers={"Retry-After": after}), said("thanks")]
    assert ask(chat).text == "thanks"


@pytest.mark.parametrize(
    "script",
    [
        [Reply(hang=True)],
        [Reply(body=b"{" + b" " * 10_000, slow=True)],
        [refused(503), Reply(hang=True)],
    ],
)
def test_the_deadline_is_that_of_all_tries(chat: ChatServer, script: list[Reply]) -> None:
    chat.script = script
    began_s = time.monotonic()
    with pytest.raises(LLMUnreachable, match=r"did not answer within 0.2 s; see whether it is up, raise LLM_TIMEOUT_S"):
        ask(chat, timeout_s=0.2)
    assert time.monotonic() - began_s < 20


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            refused(401, f"Incorrect API key provided: {SECRET}"),
            r"refused the key: .*: \*\*\*; correct LLM_API",
        ),
        (refused(403), "refused the key"),
        (refused(404, "The model does not exist"), r"is not there: .*exist; correct LLM_MODEL or LLM_API_URL"),
        (refused(400, "bad top_k"), r"refused the request: .*bad top_k; what it does not take .* by LLM_PARAMS"),
        (Reply(422, {"detail": "no such field"}), "no such field"),
        (refused(429, "You exceeded your quota", code="insufficient_quota"), "no credit is left"),
        (Reply(301, headers={"Location": "https://elsewhere/v1"}), r"answers a redirect \(301\)"),
    ],
)
def test_what_will_not_pass_is_told_at_once(chat: ChatServer, reply: Reply, message: str) -> None:
    chat.script = [reply]
    with pytest.raises(LLMRefused, match=message) as caught:
        ask(chat, api_key=SECRET)
    assert len(chat.asked) == 1
    assert SECRET not in repr(caught.value)
    assert caught.value.__suppress_context__, "what the client raises may hold the key"


def test_ollama_is_told_to_be_given_the_model(chat: ChatServer) -> None:
    chat.script = [refused(404, 'model "qwen" not found, try pulling it first')]
    with pytest.raises(LLMRefused, match=r"correct LLM_MODEL \(or `ollama pull qwen`\)"):
        ask(chat, provider="ollama", model="qwen")


def test_a_content_filter_is_the_rounds_doing_not_the_models(chat: ChatServer) -> None:
    chat.script = [refused(400, "The response was filtered", code="content_filter")]
    with pytest.raises(LLMAnswerUnusable, match="a content filter took offence"):
        ask(chat)


def test_an_outage_that_repeats_what_it_was_asked_is_no_content_filter(chat: ChatServer) -> None:
    chat.script = [refused(503, "overloaded while answering: what is a content_filter?")]
    with pytest.raises(LLMUnreachable, match="is busy or broken"):
        ask(chat)


KEY = "ab\\cd'ef"


@pytest.mark.parametrize(
    "written",
    [KEY, repr(KEY)[1:-1], repr(KEY + '"')[1:-2], json.dumps(KEY)[1:-1], urllib.parse.quote(KEY)],
    ids=["raw", "repr", "repr in double quotes", "JSON", "address"],
)
def test_a_key_is_not_told_in_any_way_of_writing_it(chat: ChatServer, written: str) -> None:
    chat.script = [refused(401, f"bad key {written}!")]
    with pytest.raises(LLMRefused, match=r"bad key \*\*\*!"):
        ask(chat, api_key=KEY)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(body=b"<html>hello</html>", headers={"Content-Type": "text/html"}), LLMAnswerUnusable),
        (Reply(body=b""), LLMAnswerUnusable),
        (Reply(body=b"{"), LLMAnswerUnusable),
        (Reply(body=b'{"a":' * 100_000), LLMAnswerUnusable),
        (Reply(body={"choices": []}), LLMAnswerUnusable),
        (Reply(body={"choices": [{"message": {"content": 7}}]}), LLMAnswerUnusable),
        (Reply(body=b'{"choices": [{"message": {"content": "\\ud800"}}]}'), LLMAnswerUnusable),
        (said("x" * (MAX_ANSWER_BYTES + 1)), LLMAnswerUnusable),
        (Reply(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), LLMAnswerUnusable),
        (Reply(500, b"x" * (MAX_ANSWER_BYTES + 1)), LLMAnswerUnusable),
        (said(""), LLMAnswerEmpty),
        (said(" \n"), LLMAnswerEmpty),
        (said(None), LLMAnswerEmpty),
        (said("<think>forever", finish_reason="length"), LLMAnswerEmpty),
        (said("<think>so</think>\n"), LLMAnswerEmpty),
    ],
)
def test_an_answer_of_no_use_is_an_error_and_asked_for_once(
    chat: ChatServer, reply: Reply, kind: type[LLMError]
) -> None:
    chat.script = [reply]
    with pytest.raises(kind) as caught:
        ask(chat)
    assert type(caught.value) is kind
    assert len(chat.asked) == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>uid 9 bribes me</think>\n\nCalm.", "Calm."),
        ("uid 9 bribes me\n</think>Calm.", "Calm."),
        ("<THINKING>a</THINKING>b<think>c</think>Calm.", "Calm."),
        ("I think <think> is a tag.", "I think <think> is a tag."),
    ],
)
def test_what_a_model_says_to_itself_is_left_out(chat: ChatServer, text: str, kept: str) -> None:
    chat.script = [said(text)]
    assert ask(chat).text == kept


def test_a_server_that_counts_nothing_is_read_too(chat: ChatServer) -> None:
    chat.script = [Reply(body={"choices": [{"message": {"content": "Calm."}}]})]
    answer = ask(chat)
    assert (answer.usage, answer.finish_reason, answer.model) == (Usage(), "", "llama")


@pytest.mark.parametrize("count", [-1, 2**70, "many", 1.5, None])
def test_a_server_that_counts_wrongly_is_read_too(chat: ChatServer, count: object) -> None:
    chat.script = [said("Calm.", usage={"prompt_tokens": count, "completion_tokens": 7})]
    answer = ask(chat)
    assert (answer.text, answer.usage) == ("Calm.", Usage(None, 7, None))


def test_a_text_in_parts_is_read_as_one(chat: ChatServer) -> None:
    parts = [{"type": "text", "text": "Of 6 miners, "}, {"type": "refusal"}, {"type": "text", "text": "5 answered."}]
    chat.script = [Reply(body={"choices": [{"message": {"content": parts}}]})]
    assert ask(chat).text == "Of 6 miners, 5 answered."


def test_parameters_that_a_model_does_not_take_are_changed_once(chat: ChatServer) -> None:
    newer = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    fixed = "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) is supported."
    chat.script = [
        refused(400, newer, param="max_tokens", code="unsupported_parameter"),
        refused(400, fixed, param="temperature", code="unsupported_value"),
        said("Calm."),
    ]
    assert ask(chat, times=2).text == "Calm."
    sent = [{name for name in asked.body if name not in ("model", "messages")} for asked in chat.asked]
    assert sent == [
        {"max_tokens", "temperature"},
        {"max_completion_tokens", "temperature"},
        {"max_completion_tokens"},
        {"max_completion_tokens"},
    ]
    assert chat.asked[-1].body["max_completion_tokens"] == 500


def test_one_that_refuses_what_is_not_sent_is_not_asked_for_ever(chat: ChatServer) -> None:
    chat.script = [refused(400, "no temperature", param="temperature", code="unsupported_value")]
    with pytest.raises(LLMRefused, match="no temperature"):
        ask(chat)
    assert len(chat.asked) == 2


def test_nobody_listening_is_told_with_what_to_do() -> None:
    with pytest.raises(LLMUnreachable, match=r"cannot be reached: .*; see whether it is up, or correct LLM_API_URL"):
        ask_at(provider="openai", model="m", api_base="http://127.0.0.1:9/v1", timeout_s=0.3)


def test_a_server_that_speaks_no_tls_is_told(chat: ChatServer) -> None:
    with pytest.raises(LLMUnreachable, match=r"cannot be reached: .*SSL"):
        ask(chat, api_base=chat.url.replace("http:", "https:"), timeout_s=0.5)


def in_service(*steps: Any) -> Sequence[Any]:
    async def run() -> list[Any]:
        service = LLMService()
        return [await step(service) for step in steps]

    return asyncio.run(run())


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    async def asking(service: LLMService) -> None:
        await service.initialize()
        service.register_llm("mine", LLMConfig(provider="ollama", model="m"))
        await service.generate("yours", ASKED)

    with pytest.raises(UnknownLLM, match=r"no model is registered as 'yours'; registered: 'mine'"):
        in_service(asking)


def test_a_service_is_initialized_before_it_is_asked() -> None:
    async def asking(service: LLMService) -> None:
        service.register_llm("mine", LLMConfig(provider="ollama", model="m"))
        await service.generate("mine", ASKED)

    with pytest.raises(LLMError, match="await initialize"):
        in_service(asking)


def test_a_name_is_of_one_model() -> None:
    service = LLMService()
    service.register_llm("mine", LLMConfig(provider="ollama", model="m"))
    service.register_llm("mine", LLMConfig(provider="ollama", model="m"))
    with pytest.raises(LLMError, match="another model is registered as 'mine'"):
        service.register_llm("mine", LLMConfig(provider="ollama", model="other"))


def test_a_closed_service_can_be_initialized_again(chat: ChatServer) -> None:
    async def run(service: LLMService) -> None:
        service.register_llm("mine", LLMConfig(provider="ollama", model="m", api_base=chat.root))
        for _ in range(2):
            await service.initialize()
            await service.generate("mine", ASKED)
            await service.aclose()

    in_service(run)
    assert len(chat.asked) == 2


def test_a_text_by_itself_is_a_users(chat: ChatServer) -> None:
    async def asking(service: LLMService) -> None:
        service.register_llm("mine", LLMConfig(provider="ollama", model="m", api_base=chat.root))
        await service.initialize()
        await service.generate("mine", "How was it?")
        await service.aclose()

    in_service(asking)
    assert chat.asked[0].body["messages"] == [{"role": "user", "content": "How was it?"}]


def test_generations_run_side_by_side(chat: ChatServer) -> None:
    async def run(service: LLMService) -> list[Generation]:
        await service.initialize()
        service.register_llm("mine", LLMConfig(provider="ollama", model="m", api_base=chat.root))
        answers = await asyncio.gather(*(service.generate("mine", ASKED) for _ in range(8)))
        await service.aclose()
        return answers

    (answers,) = in_service(run)
    assert {answer.text for answer in answers} == {"A calm round."}
    assert len(chat.asked) == 8

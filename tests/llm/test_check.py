"""What an operator is told of the configured model."""

from __future__ import annotations

import pytest

from loosh_pipeline.errors import LLMError, LLMRefused, LLMUnreachable
from loosh_pipeline.llm.check import check_llm
from loosh_pipeline.settings import Settings
from tests.llm.server import ChatServer, Reply, refused, said


def settings(chat: ChatServer, **fields: object) -> Settings:
    return Settings(**({"llm_api_url": chat.url, "llm_model": "llama", "llm_timeout_s": 2} | fields))


def test_nothing_is_asked_where_no_model_is_configured_or_narratives_are_off(chat: ChatServer) -> None:
    assert check_llm(Settings()) is None
    assert check_llm(settings(chat, enable_narrative_generation=False)) is None
    assert chat.asked == []


def test_a_model_that_answers_is_named_after_one_token(chat: ChatServer) -> None:
    chat.script = [said("", finish_reason="length")]
    assert check_llm(settings(chat)) == f"llama at {chat.url} (openai) answers"
    (asked,) = chat.asked
    assert asked.body["max_tokens"] == 1


def test_a_model_that_needs_room_to_reason_is_given_it(chat: ChatServer) -> None:
    chat.script = [refused(400, "Could not finish the message because the output limit was reached."), said("OK")]
    assert check_llm(settings(chat, llm_max_tokens=300))
    assert [asked.body["max_tokens"] for asked in chat.asked] == [1, 300]


def test_a_model_that_is_not_there_is_told_with_those_that_are(chat: ChatServer) -> None:
    chat.script = [refused(404, "The model `llama` does not exist.")]
    with pytest.raises(LLMRefused, match=r"does not exist.*correct LLM_MODEL or LLM_API_URL; it lists served-model$"):
        check_llm(settings(chat))


@pytest.mark.parametrize("models", [refused(401), Reply(body=b"<html>"), Reply(body={"data": 7}), Reply(body={})])
def test_a_server_without_a_list_of_models_is_told_about_all_the_same(chat: ChatServer, models: Reply) -> None:
    chat.script, chat.models = [refused(404)], models
    with pytest.raises(LLMRefused, match=r"correct LLM_MODEL or LLM_API_URL$"):
        check_llm(settings(chat))


def test_a_model_that_nobody_can_be_asked_for_is_an_error() -> None:
    with pytest.raises(LLMError, match="LLM_MODEL is 'gpt', but neither LLM_API_KEY"):
        check_llm(Settings(llm_model="gpt"))


def test_nobody_listening_is_told_with_what_to_do() -> None:
    where = {"llm_provider": "ollama", "llm_model": "qwen", "llm_api_url": "http://127.0.0.1:9"}
    with pytest.raises(LLMUnreachable, match=r"cannot be reached: .*start it \(`ollama serve`\), or correct LLM_API_U"):
        check_llm(Settings(**where, llm_timeout_s=0.3))

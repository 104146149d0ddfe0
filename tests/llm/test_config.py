"""An address in any form in which people paste it, and what contradicts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.configured import llm_config
from loosh_pipeline.settings import Settings

AZURE = {"provider": "azure_openai", "model": "gpt", "api_key": "k"}
VERSION = {"api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("provider", "api_base", "root"),
    [
        ("openai", None, "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("openai", "http://vllm:8000", "http://vllm:8000/v1"),
        ("openai", "http://vllm:8000/", "http://vllm:8000/v1"),
        ("openai", "http://vllm:8000/v1/", "http://vllm:8000/v1"),
        ("openai", "http://vllm:8000/v1/chat/completions/", "http://vllm:8000/v1"),
        ("openai", "https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("openai", "http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("ollama", None, "http://127.0.0.1:11434/v1"),
        ("ollama", "http://gpu:11434", "http://gpu:11434/v1"),
        ("ollama", "http://gpu:11434/v1/", "http://gpu:11434/v1"),
        ("ollama", "http://gpu:11434/v1/chat/completions", "http://gpu:11434/v1"),
        ("ollama", "http://gpu:11434/api/chat", "http://gpu:11434/v1"),
        ("ollama", "https://proxy.example/ollama/", "https://proxy.example/ollama/v1"),
    ],
)
def test_an_address_is_taken_in_any_form(provider: Any, api_base: str | None, root: str) -> None:
    config = LLMConfig(provider=provider, model="m", api_base=api_base, api_key="k")
    assert (config.endpoint.root, config.endpoint.query) == (root, {})


@pytest.mark.parametrize(
    "api_base",
    [
        "https://n.openai.azure.com",
        "https://n.openai.azure.com/",
        "https://n.openai.azure.com/openai",
        "https://n.openai.azure.com/openai/",
        "https://n.openai.azure.com/openai/deployments/gpt",
        "https://n.openai.azure.com/openai/deployments/gpt/chat/completions",
        "https://n.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2023-05-15",
    ],
)
def test_azures_endpoint_is_taken_in_any_form_and_its_version_as_it_was_set(api_base: str) -> None:
    config = LLMConfig(**AZURE, api_base=api_base, provider_specific_params=VERSION)
    assert (config.endpoint.root, config.endpoint.query) == (
        "https://n.openai.azure.com/openai",
        {"api-version": "2024-10-21"},
    )
    assert config.parameters()["model"] == "gpt"
    assert "api_version" not in config.parameters()


def test_azures_pasted_address_says_deployment_and_version_too() -> None:
    pasted = "https://n.openai.azure.com/openai/deployments/my%20own/chat/completions?api-version=2024-06-01"
    config = LLMConfig(**AZURE, api_base=pasted)
    assert config.endpoint.query == {"api-version": "2024-06-01"}
    assert config.parameters()["model"] == "my own"


@pytest.mark.parametrize("suffix", ["", "/", "/chat/completions"])
def test_azures_newer_api_needs_no_version(suffix: str) -> None:
    base = f"https://n.openai.azure.com/openai/v1{suffix}"
    config = LLMConfig(**AZURE, api_base=base, provider_specific_params={"deployment": "fast"})
    assert (config.endpoint.root, config.endpoint.query) == ("https://n.openai.azure.com/openai/v1", {})
    assert config.parameters()["model"] == "fast"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"provider": "bard"}, "LLM_PROVIDER is 'bard'; use one of openai, azure_openai, ollama"),
        ({"model": " "}, "LLM_MODEL is empty"),
        ({"temperature": 2.1}, r"LLM_TEMPERATURE is 2.1; use 0 to 2"),
        ({"temperature": float("nan")}, "LLM_TEMPERATURE is nan"),
        ({"max_tokens": 0}, "LLM_MAX_TOKENS is 0"),
        ({"timeout_s": 0}, "LLM_TIMEOUT_S is 0"),
        ({"timeout_s": float("inf")}, "LLM_TIMEOUT_S is inf"),
        ({"api_key": "k\n"}, "LLM_API_KEY begins or ends with a space"),
        ({"api_key": None}, "neither LLM_API_KEY, for OpenAI, nor LLM_API_URL"),
        ({"api_base": "localhost:8000/v1"}, r"LLM_API_URL is no address \(URL scheme should be 'http' or 'https'\)"),
        ({"provider": "ollama", "api_base": "gpu:11434"}, r"LLM_API_URL is no address \(URL scheme should be"),
        ({"api_base": "ftp://x/v1"}, r"LLM_API_URL is no address \(URL scheme"),
        ({"api_base": "http://x:99999/v1"}, r"LLM_API_URL is no address \(.*invalid port number"),
        ({"api_base": "http://999.999.999.999/v1"}, r"LLM_API_URL is no address \(.*invalid IPv4 address"),
        ({"api_base": "http://[::1/v1"}, r"LLM_API_URL is no address \(.*invalid IPv6 address"),
        ({"api_base": "http://x/" + "p" * 5000}, r"LLM_API_URL is no address \(URL should have at most"),
        ({"api_base": "http://u:hunter2@x/v1"}, "LLM_API_URL holds a user or a password"),
        ({"api_base": "http://x/v1?key=hunter2"}, "LLM_API_URL 'http://x/v1' has a query"),
        ({"provider_specific_params": {"top_p": float("nan")}}, "LLM_PARAMS cannot be written as JSON"),
        ({"provider_specific_params": {"stop": {"a"}}}, "LLM_PARAMS cannot be written as JSON"),
        ({"provider_specific_params": {"messages": [], "n": 2}}, "LLM_PARAMS names messages, n"),
        (AZURE, "needs LLM_API_URL, the resource's endpoint"),
        (AZURE | {"api_key": None, "api_base": "https://n"}, "needs LLM_API_KEY"),
        (AZURE | {"api_base": "https://n"}, "needs LLM_API_VERSION, such as"),
        (AZURE | {"api_base": "https://n", "provider_specific_params": {"api_version": 7}}, "api_version must be text"),
        (
            AZURE
            | {
                "api_base": "https://n/openai/deployments/a",
                "provider_specific_params": VERSION | {"deployment": "b"},
            },
            "of the deployment 'a' and LLM_DEPLOYMENT or LLM_MODEL says 'b'",
        ),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        LLMConfig(**({"provider": "openai", "model": "m", "api_key": "k"} | fields))
    assert "hunter2" not in str(caught.value)


def test_a_config_is_frozen_and_shows_no_key() -> None:
    params = {"top_p": 0.5, "extra_key": "hunter2"}
    config = LLMConfig(provider="openai", model="m", api_key="hunter2", provider_specific_params=params)
    params["top_p"] = 1.0
    assert config.provider_specific_params["top_p"] == 0.5
    assert "hunter2" not in f"{config} {config!r}"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model = "other"  # type: ignore[misc]


def test_parameters_are_added_renamed_or_left_out() -> None:
    config = LLMConfig(
        provider="openai",
        model="m",
        api_key="k",
        provider_specific_params={"max_completion_tokens": 2000, "temperature": None, "seed": 7},
    )
    assert config.parameters() == {"model": "m", "max_completion_tokens": 2000, "seed": 7}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"llm_api_key": "of another program"},
        {"llm_model": "gpt"},
        {"llm_model": "gpt", "llm_api_key": "k", "enable_narrative_generation": False},
    ],
)
def test_no_model_is_asked_where_it_is_not_said_whom_to_ask(fields: dict[str, Any]) -> None:
    assert llm_config(Settings(**fields)) is None


def test_settings_become_a_config() -> None:
    settings = Settings(
        llm_provider="azure_openai",
        llm_api_url="https://n.openai.azure.com",
        llm_api_key="k",
        llm_deployment="fast",
        llm_api_version="2024-10-21",
        llm_temperature=1,
        llm_max_tokens=900,
        llm_timeout_s=9,
        llm_params='{"seed": 7}',
    )
    assert llm_config(settings) == LLMConfig(
        provider="azure_openai",
        model="fast",
        api_key="k",
        api_base="https://n.openai.azure.com/",
        temperature=1,
        max_tokens=900,
        timeout_s=9,
        provider_specific_params={"seed": 7, "deployment": "fast", "api_version": "2024-10-21"},
    )


def test_openai_and_ollama_need_no_address() -> None:
    openai = llm_config(Settings(llm_model="gpt", llm_api_key="k"))
    ollama = llm_config(Settings(llm_model="qwen", llm_provider="ollama"))
    assert openai is not None
    assert ollama is not None
    assert (openai.endpoint.root, ollama.endpoint.root) == ("https://api.openai.com/v1", "http://127.0.0.1:11434/v1")

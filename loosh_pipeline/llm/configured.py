"""The model that the settings name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.llm.config import API_VERSION, DEPLOYMENT, LLMConfig

if TYPE_CHECKING:
    from loosh_pipeline.settings.subnet import Narratives


def llm_config(settings: Narratives) -> LLMConfig | None:
    """How to ask the configured model; None when none is to be asked. Raises ConfigError that names what contradicts.

    An LLM_MODEL by itself does not say whom to ask, so that it counts as none.
    """
    if not settings.enable_narrative_generation:
        return None
    model = settings.llm_model or settings.llm_deployment or ""
    _check_of_azure(settings)
    if not model:
        _check_nothing_is_meant(settings)
        return None
    if settings.llm_provider == "openai" and settings.llm_api_url is None and settings.llm_api_key is None:
        return None
    return LLMConfig(
        provider=settings.llm_provider,
        model=model,
        api_key=settings.llm_api_key.get_secret_value() if settings.llm_api_key else None,
        api_base=None if settings.llm_api_url is None else str(settings.llm_api_url),
        temperature=settings.llm_temperature,
        max_tokens=settings.llm_max_tokens,
        timeout_s=settings.llm_timeout_s,
        provider_specific_params=_params(settings),
    )


def _params(settings: Narratives) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(settings.llm_params or "{}")
    of_azure = {DEPLOYMENT: settings.llm_deployment, API_VERSION: settings.llm_api_version}
    return params | {name: value for name, value in of_azure.items() if value is not None}


def _check_of_azure(settings: Narratives) -> None:
    of_azure = {"LLM_DEPLOYMENT": settings.llm_deployment, "LLM_API_VERSION": settings.llm_api_version}
    given = [name for name, value in of_azure.items() if value is not None]
    if given and settings.llm_provider != "azure_openai":
        raise ConfigError(
            f"{' and '.join(given)} is set, which only Azure has, and LLM_PROVIDER is {settings.llm_provider}; set "
            f"LLM_PROVIDER=azure_openai, or leave {' and '.join(given)} empty"
        )


def _check_nothing_is_meant(settings: Narratives) -> None:
    """A key by itself means nothing: it may be of another program's environment."""
    if settings.llm_api_url is not None:
        raise ConfigError("LLM_API_URL is set but LLM_MODEL is not; name the model to ask")
    if settings.llm_provider != "openai":
        raise ConfigError(f"LLM_PROVIDER is {settings.llm_provider} but LLM_MODEL is not set; name the model to ask")

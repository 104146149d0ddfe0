"""The model that the settings name."""

from __future__ import annotations

from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.settings import Settings


def llm_config(settings: Settings) -> LLMConfig | None:
    """How to ask the configured model; None when there is none. Raises ConfigError that names a wrong setting."""
    if settings.llm_api_url is None:
        return None
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
    return LLMConfig(
        provider="openai",
        model=settings.llm_model,
        api_key=key,
        api_base=str(settings.llm_api_url),
        timeout_s=settings.llm_timeout_s,
    )

"""The client that serves every provider, made for one configured model."""

from __future__ import annotations

from collections.abc import Mapping

from openai import AsyncAzureOpenAI, AsyncOpenAI

from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.transport import http_client

UNUSED = "unused"
"""The client insists on a key, or takes the environment's. What goes out is decided by our transport."""


def client_for(config: LLMConfig) -> AsyncOpenAI:
    """A client that tries once: when to try again is decided by whoever knows the deadline. To be closed after use."""
    where = config.endpoint
    version = where.query.get("api-version")
    headers = _credentials(config.api_key, of_azure=version is not None)
    http = http_client(config.timeout_s, headers, https=where.root.startswith("https://"))
    if version is not None:
        return AsyncAzureOpenAI(
            base_url=where.root, api_version=version, api_key=UNUSED, max_retries=0, http_client=http
        )
    return AsyncOpenAI(base_url=where.root, api_key=UNUSED, max_retries=0, http_client=http)


def _credentials(key: str | None, *, of_azure: bool) -> Mapping[str, str]:
    if not key:
        return {}
    return {"api-key": key} if of_azure else {"authorization": f"Bearer {key}"}

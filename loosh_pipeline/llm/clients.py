"""The client that serves every provider, made for one configured model."""

from __future__ import annotations

from openai import AsyncAzureOpenAI, AsyncOpenAI

from loosh_pipeline.llm.config import LLMConfig
from loosh_pipeline.llm.transport import http_client

NO_KEY = "none"
"""The client insists on a key; a server without keys ignores it."""


def client_for(config: LLMConfig) -> AsyncOpenAI:
    """A client that tries once: when to try again is decided by whoever knows the deadline. To be closed after use."""
    where = config.endpoint
    key = config.api_key or NO_KEY
    http = http_client(config.timeout_s, https=where.root.startswith("https://"))
    if "api-version" in where.query:
        return AsyncAzureOpenAI(
            base_url=where.root,
            api_version=where.query["api-version"],
            api_key=key,
            default_headers={"api-key": key},
            max_retries=0,
            http_client=http,
        )
    return AsyncOpenAI(
        base_url=where.root,
        api_key=key,
        # said once more, for else a header of the environment would take its place
        default_headers={"Authorization": f"Bearer {key}"},
        max_retries=0,
        http_client=http,
    )

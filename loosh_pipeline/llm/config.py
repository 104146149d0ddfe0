"""How a language model is reached and asked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.llm.addresses import Endpoint, Provider, endpoint_of

MAX_TOKENS = 500
"""More than the 150 words of a narrative take; a model that reasons first needs more."""
TEMPERATURE = 0.2
TIMEOUT_S = 30.0
LONGEST_TIMEOUT_S = 300.0

DEPLOYMENT, API_VERSION = "deployment", "api_version"
"""Parameters that say where a model of Azure lies; they are no part of a request's body."""
RESERVED = ("model", "messages", "stream", "stream_options", "n")
"""What a request for one whole answer must not be asked to change."""


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """One model of one provider. Raises ConfigError that names the setting which is wrong.

    `timeout_s` is the deadline of a whole generation, retries included. `provider_specific_params` are added to the
    body of every request; null leaves out a parameter that is sent otherwise. Of them, Azure's `deployment` (unset: the
    model's name) and `api_version` say where the model lies.
    """

    provider: Provider
    model: str
    api_key: str | None = field(default=None, repr=False)
    api_base: str | None = None
    temperature: float | None = TEMPERATURE
    max_tokens: int = MAX_TOKENS
    timeout_s: float = TIMEOUT_S
    provider_specific_params: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.provider not in get_args(Provider):
            raise ConfigError(f"LLM_PROVIDER is {self.provider!r}; use one of {', '.join(get_args(Provider))}")
        if not self.model.strip():
            raise ConfigError("LLM_MODEL is empty; name the model to ask")
        self._check_numbers()
        self._check_key()
        self._check_params()
        object.__setattr__(self, "provider_specific_params", MappingProxyType({**self.provider_specific_params}))
        _ = self.endpoint  # a wrong address is told now, not when it is first asked

    @property
    def endpoint(self) -> Endpoint:
        """Where the model is asked."""
        params = self.provider_specific_params
        return endpoint_of(self.provider, self.api_base, params.get(DEPLOYMENT), params.get(API_VERSION))

    def parameters(self) -> dict[str, Any]:
        """The body of a request, beside its messages."""
        own = {key: value for key, value in self.provider_specific_params.items() if key not in self._of_azure}
        limit = {} if "max_completion_tokens" in own else {"max_tokens": self.max_tokens}
        body = {"model": self.endpoint.deployment or self.model, "temperature": self.temperature, **limit, **own}
        return {key: value for key, value in body.items() if value is not None}

    @property
    def _of_azure(self) -> tuple[str, ...]:
        return (DEPLOYMENT, API_VERSION) if self.provider == "azure_openai" else ()

    def _check_numbers(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ConfigError(f"LLM_TEMPERATURE is {self.temperature}; use 0 to 2")
        if self.max_tokens < 1:
            raise ConfigError(f"LLM_MAX_TOKENS is {self.max_tokens}; use 1 or more")
        if not (math.isfinite(self.timeout_s) and 0 < self.timeout_s <= LONGEST_TIMEOUT_S):
            raise ConfigError(f"LLM_TIMEOUT_S is {self.timeout_s}; use more than 0 and at most {LONGEST_TIMEOUT_S:g}")

    def _check_key(self) -> None:
        key = self.api_key
        if key is not None and (not key.isascii() or not key.isprintable() or key != key.strip()):
            raise ConfigError("LLM_API_KEY begins or ends with a space or holds what no key has; copy it anew")
        if not key and self.provider == "azure_openai":
            raise ConfigError("LLM_PROVIDER=azure_openai needs LLM_API_KEY, a key of the resource")
        if not key and self.provider == "openai" and self.api_base is None:
            raise ConfigError(
                f"LLM_MODEL is {self.model!r}, but neither LLM_API_KEY, for OpenAI, nor LLM_API_URL, for another "
                "server, is set; set one of them, or unset LLM_MODEL"
            )

    def _check_params(self) -> None:
        params = self.provider_specific_params
        if reserved := [name for name in RESERVED if name in params]:
            raise ConfigError(f"LLM_PARAMS names {', '.join(reserved)}, which cannot be set there")
        try:
            json.dumps(dict(params), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"LLM_PARAMS cannot be written as JSON: {error}") from error
        if wrong := [name for name in self._of_azure if not isinstance(params.get(name), str | None)]:
            raise ConfigError(f"LLM_PARAMS: {', '.join(wrong)} must be text")

"""Where a provider's API lies, from an address in any of the forms in which people paste it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from pydantic import HttpUrl, ValidationError

from loosh_pipeline.errors import ConfigError

Provider = Literal["openai", "azure_openai", "ollama"]

OPENAI_URL = "https://api.openai.com/v1"
OLLAMA_URL = "http://127.0.0.1:11434"
COMPLETIONS = "/chat/completions"
_OLLAMA_PATHS = ("/v1", "/api/chat", "/api/generate", "/api")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`root` is what `/chat/completions` is appended to. `query` goes with every request."""

    root: str
    query: Mapping[str, str]
    deployment: str | None = None


def endpoint_of(provider: Provider, api_base: str | None, deployment: str | None, api_version: str | None) -> Endpoint:
    """Where to ask. `deployment` and `api_version` are Azure's. Raises ConfigError that names what is missing."""
    if provider == "azure_openai":
        return _azure(api_base, deployment, api_version)
    if provider == "ollama":
        return Endpoint(_ollama(api_base or OLLAMA_URL), {})
    return Endpoint(_openai(api_base or OPENAI_URL), {})


def _openai(address: str) -> str:
    base, path, query = _split(address)
    if query:
        raise ConfigError(f"LLM_API_URL {base + path!r} has a query; leave out what follows the question mark")
    return base + (path.removesuffix(COMPLETIONS) or "/v1")


def _ollama(address: str) -> str:
    """Its OpenAI-compatible API; Ollama's own is told apart by its path."""
    base, path, _ = _split(address)
    path = path.removesuffix(COMPLETIONS)
    own = next((known for known in _OLLAMA_PATHS if path.endswith(known)), "")
    return base + path.removesuffix(own) + "/v1"


def _azure(address: str | None, deployment: str | None, api_version: str | None) -> Endpoint:
    if not address:
        raise ConfigError(
            "LLM_PROVIDER=azure_openai needs LLM_API_URL, the resource's endpoint, such as "
            "https://NAME.openai.azure.com"
        )
    base, path, query = _split(address)
    before, found, after = path.partition("/openai")
    root = base + (before if found else path) + "/openai"
    if after.removesuffix(COMPLETIONS) == "/v1":
        return Endpoint(f"{root}/v1", {}, deployment)
    named = after.removesuffix(COMPLETIONS).removeprefix("/deployments/") if "/deployments/" in after else ""
    named = unquote(named)
    if named and deployment and named != deployment:
        raise ConfigError(
            f"LLM_API_URL is of the deployment {named!r} and LLM_DEPLOYMENT or LLM_MODEL says {deployment!r}; set "
            "LLM_DEPLOYMENT to the one you mean, and LLM_API_URL to the endpoint alone"
        )
    version = api_version or query.get("api-version")
    if not version:
        raise ConfigError("LLM_PROVIDER=azure_openai needs LLM_API_VERSION, such as 2024-10-21")
    return Endpoint(root, {"api-version": version}, named or deployment)


def _split(address: str) -> tuple[str, str, dict[str, str]]:
    """Scheme and host, the path without a slash at its end, and the query. Raises ConfigError for no such address."""
    try:
        parts = urlsplit(str(HttpUrl(address.strip())))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ConfigError(f"LLM_API_URL is no address ({wrong}); it looks like https://HOST/v1") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("LLM_API_URL holds a user or a password; use LLM_API_KEY")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return urlunsplit((parts.scheme, parts.netloc, "", "", "")), parts.path.rstrip("/"), query

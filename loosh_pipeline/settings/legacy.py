"""Names of the network's existing validator, and of earlier releases, that are no settings here: what each becomes, or
why it does nothing.

Operators bring their `.env` along. A name that means the same is translated; one that cannot is told about, with what
to do instead; none is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings.credentials import without_credentials
from loosh_pipeline.settings.given import Given, Names

NO_RESULTS = "disabled://"
"""How Celery, which reads CELERY_RESULT_BACKEND by itself, is told to keep no results."""

NETWORKS = {
    "finney": "wss://entrypoint-finney.opentensor.ai:443",
    "test": "wss://test.finney.opentensor.ai:443",
    "archive": "wss://archive.chain.opentensor.ai:443",
    "local": "ws://127.0.0.1:9945",
}


@dataclass(frozen=True, slots=True)
class Renamed:
    """`setting` has taken the place of the name. `told`: what changed; empty where it means just the same."""

    setting: str
    told: str = ""
    translate: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class Gone:
    """The name does nothing. `instead`: what holds in its place, and what to set."""

    instead: str


def _endpoint(network: str) -> str:
    if network.startswith(("ws://", "wss://")):
        return network
    if network.lower() not in NETWORKS:
        named = without_credentials(network)
        raise ConfigError(
            f"SUBTENSOR_NETWORK={named!r} is no network that is known ({', '.join(NETWORKS)}); set "
            "SUBTENSOR_ADDRESS to an endpoint of it"
        )
    return NETWORKS[network.lower()]


def _model(name: str) -> str:
    return "builtin" if name.removeprefix("sentence-transformers/") == "all-MiniLM-L6-v2" else name


RENAMED = {
    "OPENAI_API_URL": Renamed("llm_api_url"),
    "OPENAI_API_KEY": Renamed("llm_api_key"),
    "OPENAI_MODEL": Renamed("llm_model"),
    "CHALLENGE_API_BASE_URL": Renamed("challenge_api_url", "which was ignored before; results go there now"),
    "SUBTENSOR_NETWORK": Renamed(
        "subtensor_address", "which only stood in a log before; its public endpoint is used now", _endpoint
    ),
    "MAX_CONCURRENT_CHALLENGES": Renamed("max_concurrent_runs", "which was ignored before"),
    "SENTENCE_TRANSFORMER_MODEL": Renamed(
        "embedding_model", "which was ignored before; a model other than builtin is a directory or a URL", _model
    ),
}
"""By older name. An older one counts only where neither environment nor `.env` has the setting's own."""

OF_OPENAI = ("OPENAI_API_URL", "OPENAI_API_KEY", "OPENAI_MODEL")
"""These count together, and not where LLM_API_URL or LLM_PROVIDER names another server."""

_AXON = "a validator here serves at API_HOST and API_PORT; `loosh chain serve --ip IP` announces the address"
_AT_ONCE = "asked at once within three seconds each"
GONE = {
    "HEATMAP_UPLOAD_URL": Gone("pictures are uploaded to CHALLENGE_API_URL, with HEATMAP_UPLOAD=true"),
    "AXON_IP": Gone(_AXON),
    "AXON_PORT": Gone(_AXON),
    "AXON_EXTERNAL_IP": Gone(_AXON),
    "AXON_EXTERNAL_PORT": Gone(_AXON),
    "AXON_MAX_WORKERS": Gone("MAX_CONCURRENT_RUNS says how many challenges are evaluated at once"),
    "AXON_TIMEOUT": Gone("CHALLENGE_TIMEOUT_S says how long miners have"),
    "FIBER_KEY_TTL_SECONDS": Gone("sessions live 3600 s, as everywhere on this network"),
    "FIBER_HANDSHAKE_TIMEOUT_SECONDS": Gone("a handshake has its share of CHALLENGE_TIMEOUT_S"),
    "FIBER_HANDSHAKE_TIMEOUT": Gone("a handshake has its share of CHALLENGE_TIMEOUT_S"),
    "FIBER_KEY_TTL": Gone("sessions live 3600 s, as everywhere on this network"),
    "MAX_CONCURRENT_REQUESTS": Gone("all miners of a challenge are asked at once; MAX_MINERS bounds them"),
    "MAX_CONCURRENT_AVAILABILITY_CHECKS": Gone(f"all serving miners are {_AT_ONCE}"),
    "CHALLENGE_MODE": Gone("challenges are pushed"),
    "LLM_BACKEND": Gone("it is a miner's; LLM_PROVIDER names whom narratives are asked of"),
    "DEFAULT_MODEL": Gone("it is a miner's; LLM_MODEL names the model of narratives"),
    "ENABLE_VALIDATOR_WHITELIST": Gone("it is a miner's"),
}

OURS_BEFORE = {
    "CELERY_RESULT_BACKEND": Gone("workers tell in the database (DATABASE_URL) what they execute"),
}
"""Settings of earlier releases."""

CHANGED = {
    "CHALLENGE_PUSH_API_KEY": "it was not looked at before; now whoever knows it may push challenges",
    "CHALLENGE_API_KEY": "it goes along over https or to this machine only",
    "LOG_LEVEL": "it was not looked at before; now it holds",
    "LLM_API_URL": "narratives are on where it and LLM_MODEL are set; before, the source had to be changed for that",
    "ENABLE_NARRATIVE_GENERATION": "it was not looked at before; now no language model is asked where it is false",
    "WALLET_PATH": "it is the directory of wallets that this process reads; before, only containers mounted it",
}
"""Settings that mean something else under the same name; told where others show that a `.env` was brought along."""

OF_SCRIPTS = frozenset({"VALIDATOR_WORKDIR", "PYTHON_INTERPRETER", "VENV_NAME", "CONTAINER_NAME"})
"""Names that process managers read, not the validator."""


def older_values(environment: Names, dotenv: Names) -> tuple[dict[str, Given], list[str]]:
    """Settings that older names set, by setting; and of those that are passed over, why."""
    found: dict[str, Given] = {}
    ignored = []
    for name, renamed in RENAMED.items():
        given = environment.get(name) or dotenv.get(name)
        if given is None:
            continue
        own = environment.get(renamed.setting.upper()) or dotenv.get(renamed.setting.upper())
        if own is not None:
            if own.text != given.text:
                ignored.append(f"{name} is not used, as {own.name} is set; remove it")
        elif why := _of_another(name, given, environment, dotenv):
            ignored.append(f"{name} is not used, as {why}; write {renamed.setting.upper()}")
        else:
            found[renamed.setting] = given
    return found, ignored


def _of_another(name: str, given: Given, environment: Names, dotenv: Names) -> str | None:
    """Why a name of OpenAI's does not count: what is exported for OpenAI's own tools is sent to nobody else."""
    if name not in OF_OPENAI:
        return None
    both = {**dotenv, **environment}
    if "LLM_API_URL" in both:
        return "LLM_API_URL is set, which may be another's"
    if "LLM_PROVIDER" in both and both["LLM_PROVIDER"].text != "openai":
        return f"LLM_PROVIDER is {both['LLM_PROVIDER'].text}"
    url = both.get("OPENAI_API_URL")
    if name == "OPENAI_API_KEY" and url is not None and url.origin != given.origin:
        own = (urlsplit(url.text).hostname or "").endswith("openai.com")
        return None if own else f"OPENAI_API_URL stands elsewhere ({url.origin}) and is not OpenAI's"
    return None


def older_warnings(environment: Names, dotenv: Names) -> list[str]:
    """One line for every name that was brought along and does something else here, or nothing."""
    given = {**dotenv, **environment}
    found, lines = older_values(environment, dotenv)
    for setting, each in found.items():
        if told := RENAMED[each.name.upper()].told:
            lines.append(f"{each.name} is taken as {setting.upper()}, {told}; write {setting.upper()}")
    nothing = {**GONE, **OURS_BEFORE}
    lines += [f"{name} does nothing: {gone.instead}" for name, gone in nothing.items() if _does_nothing(name, given)]
    brought_along = any(name in given for name in (*GONE, "SUBTENSOR_NETWORK", "CHALLENGE_API_BASE_URL"))
    lines += [f"{name}: {told}" for name, told in CHANGED.items() if brought_along and name in given]
    return lines


def _does_nothing(name: str, given: Names) -> bool:
    """Not where it says what is so anyway: `loosh up` tells its own processes so."""
    usual = {"CHALLENGE_MODE": "push", "CELERY_RESULT_BACKEND": NO_RESULTS}
    return name in given and given[name].text.lower() != usual.get(name)


class OlderNames(PydanticBaseSettingsSource):
    """A source of settings whose own name is in no other: the values of their older names."""

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        environment: PydanticBaseSettingsSource,
        dotenv: PydanticBaseSettingsSource,
    ) -> None:
        super().__init__(settings_cls)
        self._found, _ = older_values(_given(environment, "environment"), _given(dotenv, "file"))

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if (given := self._found.get(field_name)) is None:
            return None, field_name, False
        return RENAMED[given.name].translate(given.text), given.name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        return {name: self.get_field_value(fields[name], name)[0] for name in self._found}


def _given(source: PydanticBaseSettingsSource, origin: str) -> dict[str, Given]:
    variables: Mapping[str, str | None] = getattr(source, "env_vars", {})
    return {name.upper(): Given(name.upper(), text, origin) for name, text in variables.items() if text}

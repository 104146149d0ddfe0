"""Every setting, read from the environment and from `.env`, under the network's own names.

Empty values count as unset, so a variable in `env.example` can stay empty. Paths default to one data
directory, `LOOSH_HOME` (`.loosh` in the working directory), so that a first run needs no configuration.
"""

from __future__ import annotations

import ipaddress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from loosh_pipeline.settings.legacy import OlderNames
from loosh_pipeline.settings.machine import (
    FILES_BROKER,
    Embedding,
    Intake,
    Keeping,
    Machines,
    Places,
    Running,
    Seeing,
    Serving,
)
from loosh_pipeline.settings.roles import contradictions
from loosh_pipeline.settings.section import UNSET, Section
from loosh_pipeline.settings.subnet import Asking, Canaries, ChainAccess, Narratives, Scores, Telling, Weights

SECTIONS: tuple[type[Section], ...] = (
    Places,
    Serving,
    Intake,
    Embedding,
    Running,
    ChainAccess,
    Asking,
    Telling,
    Scores,
    Weights,
    Narratives,
    Canaries,
    Keeping,
    Machines,
    Seeing,
)
"""In the order in which people read them."""


# Pydantic takes the fields of the last base first.
class Settings(
    Seeing,
    Machines,
    Keeping,
    Canaries,
    Narratives,
    Weights,
    Scores,
    Telling,
    Asking,
    ChainAccess,
    Running,
    Embedding,
    Intake,
    Serving,
    Places,
):
    """Configuration of a validator. Raises `pydantic.ValidationError` that names a wrong variable."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before the environment before `.env`, and older names where a setting's own is in neither."""
        return init_settings, env_settings, dotenv_settings, OlderNames(settings_cls, env_settings, dotenv_settings)

    @model_validator(mode="before")
    @classmethod
    def _unset(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What another process was told is unset has its default, also where that is an empty text or list."""
        fields = cls.model_fields
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in fields or fields[name].default is None
        }

    @model_validator(mode="after")
    def _open_for_this_machine_only(self) -> Self:
        if self.intake_auth == "open" and not is_loopback(self.api_host):
            raise ValueError(
                f"INTAKE_AUTH=open lets anybody push who reaches API_HOST ({self.api_host}); bind it to 127.0.0.1, or "
                "use required or signature-optional"
            )
        return self

    @model_validator(mode="after")
    def _roles_agree(self) -> Self:
        if wrong := list(contradictions(self)):
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _what_makes_weights_is_kept(self) -> Self:
        kept_h = 24 * (self.retain_tables_days or float("inf"))
        for name in ("emissions_lookback_h", "emissions_emergency_lookback_h"):
            if (lookback_h := getattr(self, name)) > kept_h - 24:
                raise ValueError(
                    f"RETAIN_TABLES_DAYS={self.retain_tables_days:g} deletes rounds that {name.upper()}={lookback_h:g} "
                    f"makes weights of; keep tables for {lookback_h / 24 + 1:g} days or more, or look back less far"
                )
        return self

    def runs_here(self, *services: str) -> bool:
        """Whether `loosh up` starts any of these on this machine."""
        return not self.loosh_services or any(each in self.loosh_services for each in services)

    @property
    def hands_out_files(self) -> bool:
        """Whether messages to workers are files in LOOSH_HOME, which one machine's workers take."""
        return self.celery_broker_url.get_secret_value() == FILES_BROKER

    @property
    def spread(self) -> bool:
        """Whether there may be other machines: whoever shares a database tells in it what is executed here."""
        return self.database_url is not None

    @property
    def home(self) -> Path:
        return self.loosh_home.expanduser().absolute()

    @property
    def version_told(self) -> str:
        """The version that the network is told."""
        return self.reported_version or version("loosh-pipeline")

    @property
    def chain_endpoints(self) -> tuple[str, ...]:
        """Where the chain is asked, in order; each once."""
        return tuple(dict.fromkeys((self.subtensor_address, *self.subtensor_fallbacks)))

    @property
    def inbox_url(self) -> str:
        return self.database_url or _sqlite(self.db_path or self.home / "validator.db")

    @property
    def users_url(self) -> str:
        return self.database_url or _sqlite(self.users_path)

    @property
    def users_path(self) -> Path:
        """The file of users; with DATABASE_URL, of those who registered before."""
        return (self.users_db_path or self.home / "users.db").expanduser()

    @property
    def tables_root(self) -> str:
        return self.tables_dir or str(self.home / "tables")

    @property
    def heatmaps_root(self) -> Path:
        return (self.heatmaps_dir or self.home / "heatmaps").expanduser()

    @property
    def canaries_path(self) -> Path | None:
        return None if self.canaries_file is None else self.canaries_file.expanduser()

    @property
    def models_root(self) -> Path:
        return (self.models_dir or self.home / "models").expanduser().absolute()

    @property
    def api_reached_at(self) -> str:
        """Host at which this machine reaches the ingress: the one it binds, or loopback when it binds all."""
        return reached_at(self.api_host)

    @property
    def own_dagster_url(self) -> str:
        """Address of this machine's own Dagster webserver, for programs here."""
        return f"http://{_in_url(reached_at(self.dagster_host))}:{self.dagster_port}"

    @property
    def own_embedder_url(self) -> str:
        """Address of this machine's own embedder, for programs here."""
        return f"http://{_in_url(reached_at(self.embedder_host))}:{self.embedder_port}"

    @property
    def ingress_url(self) -> str:
        """Address of the ingress for links, without a trailing slash."""
        return str(self.public_url or self.local_url).rstrip("/")

    @property
    def local_url(self) -> str:
        """Address of the ingress for programs on this machine, which may push without a signature."""
        return f"http://{_in_url(self.api_reached_at)}:{self.api_port}"

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, so that another process has exactly the same ones."""
        values = ((name.upper(), getattr(self, name)) for name in type(self).model_fields)
        return {name: _as_text(value) for name, value in values}


def reached_at(host: str) -> str:
    """Where a server is reached from its own machine that binds this."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path.expanduser()}"


def _as_text(value: object) -> str:
    if value in (None, "", ()):
        return UNSET
    if isinstance(value, tuple):
        return ",".join(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

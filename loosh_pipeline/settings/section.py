"""What the sections of the settings have in common."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from loosh_pipeline.settings.given import ENCODING

UNSET = "<unset>"
"""Written by `Settings.environment` for what has no value: an empty variable would let `.env` decide."""


class Section(BaseSettings):
    """Settings that belong together. The docstring of each section is its title in `env.example`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding=ENCODING,
        env_ignore_empty=True,
        env_parse_none_str=UNSET,
        extra="ignore",
        case_sensitive=False,
        frozen=True,
        allow_inf_nan=False,
    )


def address_with_secrets(default: Any, description: str) -> Any:
    """A field whose address may hold a password or a key: of it, only scheme, host and port are ever shown."""
    return Field(default, description=description, repr=False)

"""Reading the settings of this process, once, and saying what was odd about what was given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from loosh_pipeline.settings.given import Given, everything_given
from loosh_pipeline.settings.legacy import older_warnings
from loosh_pipeline.settings.model import Settings
from loosh_pipeline.settings.unknown import refuse_unknown


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process. Raises ConfigError for a name that is none, ValidationError for a wrong value."""
    refuse_unknown([name.upper() for name in Settings.model_fields], *given())
    return Settings()


def given() -> tuple[Mapping[str, Given], Mapping[str, Given]]:
    """What the environment and the `.env` of the working directory say, by upper-case name."""
    dotenv = Settings.model_config.get("env_file")
    return everything_given(Path(dotenv) if isinstance(dotenv, str | Path) else None)


def warnings() -> list[str]:
    """What an operator should know of names that were brought along from the existing validator."""
    return older_warnings(*given())

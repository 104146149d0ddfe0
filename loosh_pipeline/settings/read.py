"""Reading the settings of this process, once, and saying what was odd about what was given."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from loosh_pipeline.settings.given import Names, everything_given
from loosh_pipeline.settings.legacy import older_values, older_warnings
from loosh_pipeline.settings.model import Settings
from loosh_pipeline.settings.unknown import misspelt, refuse_unknown


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process. Raises ConfigError for a name that is none, ValidationError for a wrong value."""
    refuse_unknown(_names(), *given())
    return Settings()


def given() -> tuple[Names, Names]:
    """What the environment and the `.env` of the working directory say, by upper-case name."""
    dotenv = Settings.model_config.get("env_file")
    return everything_given(Path(dotenv) if isinstance(dotenv, str | Path) else None)


def warnings() -> list[str]:
    """What an operator should know of names that were brought along from the existing validator, or look misspelt."""
    environment, dotenv = given()
    return [*older_warnings(environment, dotenv), *misspelt(_names(), environment)]


def written_as(setting: str) -> str:
    """The name under which the value of a setting was given, upper case: an older one where that was used."""
    older, _ = older_values(*given())
    return older[setting].name.upper() if setting in older else setting.upper()


def _names() -> list[str]:
    return [name.upper() for name in Settings.model_fields]

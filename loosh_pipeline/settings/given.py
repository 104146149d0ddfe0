"""What the environment and `.env` say, before it is understood: which name, which text, and where it stands."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from loosh_pipeline.errors import ConfigError

ENVIRONMENT = "environment"
ENCODING = "utf-8-sig"


@dataclass(frozen=True, slots=True)
class Given:
    """One variable with a text that is not empty. `origin`: the environment, or the path of a `.env`."""

    name: str
    text: str
    origin: str


Names = Mapping[str, Given]
"""By upper-case name."""


def everything_given(dotenv: Path | None, environment: Mapping[str, str] | None = None) -> tuple[Names, Names]:
    """What the environment says, and what `dotenv` says. None reads no file.

    Raises ConfigError for a file that cannot be read, naming the line that cannot be understood.
    """
    variables = os.environ if environment is None else environment
    of_environment = {name.upper(): Given(name, text, ENVIRONMENT) for name, text in variables.items() if text != ""}
    lines = _read(dotenv) if dotenv is not None and dotenv.exists() else {}
    return of_environment, {name.upper(): Given(name, text, str(dotenv)) for name, text in lines.items() if text}


def _read(dotenv: Path) -> Mapping[str, str | None]:
    try:
        text = dotenv.read_text(ENCODING)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{dotenv} is no UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"{dotenv} cannot be read: {error.strerror}; is it this user's?") from error
    if wrong := [binding.original.line for binding in parse_stream(io.StringIO(text)) if binding.error]:
        lines = ", ".join(map(str, wrong))
        raise ConfigError(f"{dotenv}: line {lines} cannot be understood; write NAME=value")
    return dotenv_values(stream=io.StringIO(text))

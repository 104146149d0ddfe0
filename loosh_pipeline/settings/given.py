"""What the environment and `.env` say, before it is understood: which name, which text, and where it stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Given:
    """One variable with a text that is not empty. `origin`: the environment, or the path of a `.env`."""

    name: str
    text: str
    origin: str


def everything_given(
    dotenv: Path | None, environment: Mapping[str, str] | None = None
) -> tuple[Mapping[str, Given], Mapping[str, Given]]:
    """By upper-case name: what the environment says, and what `dotenv` says. None reads no file."""
    variables = os.environ if environment is None else environment
    of_environment = {name.upper(): Given(name, text, ENVIRONMENT) for name, text in variables.items() if text != ""}
    lines = dotenv_values(dotenv, encoding="utf-8") if dotenv is not None and dotenv.is_file() else {}
    of_file = {name.upper(): Given(name, text, str(dotenv)) for name, text in lines.items() if text}
    return of_environment, of_file

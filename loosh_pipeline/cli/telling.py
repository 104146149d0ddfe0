"""Where commands write, and how they tell an error: one line, and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from loosh_pipeline.errors import ConfigError, LooshError
from loosh_pipeline.settings.shown import holds_secrets

out = Console()
err = Console(stderr=True)

P = ParamSpec("P")


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Tell the errors we raise on purpose in one line; anything else is a bug and keeps its traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ValidationError as error:
            problems = "; ".join(_problem(each) for each in error.errors())
            err.print(f"[red]error:[/] wrong settings: {escape(problems)}", highlight=False)
            raise typer.Exit(2) from error
        except LooshError as error:
            err.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error

    return wrapper


def _problem(error: Mapping[str, Any]) -> str:
    """One wrong setting: its name and value, and what is wrong with it."""
    name = ".".join(map(str, error["loc"])).upper()
    said = error["msg"].removeprefix("Value error, ")
    if not name or holds_secrets(name):
        return f"{name} {said}".strip()
    return f"{name}={error['input']!r}: {said}"

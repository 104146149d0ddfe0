"""Where commands write, and how they tell an error: one line, and an exit code."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from loosh_pipeline.errors import ConfigError, LooshError
from loosh_pipeline.owners import when_denied
from loosh_pipeline.settings.credentials import without_credentials
from loosh_pipeline.settings.read import written_as
from loosh_pipeline.settings.shown import holds_secrets

out = Console()
err = Console(stderr=True)

NOT_YET = 3
"""Exit code for nothing to do, or nothing to say yet."""
INTERRUPTED = 130
P = ParamSpec("P")
AsJson = Annotated[bool, typer.Option("--json", help="one JSON value on stdout, and nothing else there")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(version("loosh-pipeline"))
        raise typer.Exit


def main(
    _version: Annotated[
        bool, typer.Option("--version", help="print the release and end", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Run a validator, or a whole subnet on one machine, and see how it is."""


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Tell the errors we raise on purpose, and what the system refuses, in one line; anything else is a bug and keeps
    its traceback.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with telling():
                command(*args, **kwargs)
        except KeyboardInterrupt:
            err.print("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return wrapper


@contextmanager
def telling() -> Iterator[None]:
    """What `told` does about errors, for a part of a command. Raises typer.Exit with the code in their place."""
    try:
        yield
    except ValidationError as error:
        problems = "; ".join(problems_of(error))
        err.print(f"[red]error:[/] wrong settings: {escape(problems)}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except LooshError as error:
        err.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    except BrokenPipeError:  # whoever reads has seen enough: typer ends quietly
        raise
    except OSError as error:
        err.print(f"[red]error:[/] {escape(_refusal(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _refusal(error: OSError) -> str:
    """What the system refused, of which file, and what to do where that is a matter of who asks."""
    if not isinstance(error.filename, str):
        return str(error)
    said = f"{error.filename}: {error.strerror}"
    return f"{said}; {when_denied(Path(error.filename))}" if isinstance(error, PermissionError) else said


def problems_of(error: ValidationError) -> list[str]:
    """What is wrong with settings, a text each."""
    return [_problem(each) for each in error.errors()]


def tell_json(said: object) -> None:
    """One JSON value on stdout, in one line, and nothing else there."""
    typer.echo(json.dumps(said, default=str))


def _problem(error: Mapping[str, Any]) -> str:
    """One wrong setting: the name and value it was given by, and what is wrong with it."""
    setting = ".".join(map(str, error["loc"]))
    said = without_credentials(error["msg"].removeprefix("Value error, "))
    if not setting:
        return said
    name, own = written_as(setting), setting.upper()
    said = said.removeprefix(f"{own} ").removeprefix(f"{own}: ")
    if holds_secrets(setting):
        return f"{name} {said}"
    return f"{name}={without_credentials(str(error['input']))!r}: {said}"

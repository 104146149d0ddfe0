"""docs/reference/cli.md: every command with its arguments and options, as `--help` has them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click
import typer

from loosh_pipeline.cli import app
from tests.docs.tables import code, table

HEAD = """\
# Commands

`loosh COMMAND --help` says the same in a terminal. With `--json` one JSON value is on stdout and nothing else.
[Commands and exit codes](../operating/commands.md) says what each is for, and with what it ends.
"""


def commands(at: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its words, such as `chain serve`."""
    at = at or typer.main.get_command(app)
    if not hasattr(at, "commands"):
        yield " ".join(path), at
        return
    if path and at.invoke_without_command:
        yield " ".join(path), at
    for name, each in at.commands.items():
        yield from commands(each, (*path, name))


def page() -> str:
    return HEAD + "".join(_command(name, command) for name, command in commands())


def _command(name: str, command: Any) -> str:
    shown = [each for each in command.params if not each.hidden and each.name != "help"]
    usage = " ".join(["loosh", name, *filter(None, map(_usage, shown))])
    about = inspect.cleandoc(command.help or "")
    rows = [(_names(each), _default(each), each.help or "") for each in shown]
    options = "\n" + table(("option", "default", "what it is"), rows) if rows else ""
    return f"\n## loosh {name}\n\n```text\n{usage}\n```\n\n{about}\n{options}"


def _usage(each: Any) -> str:
    if isinstance(each, click.Option) or each.param_type_name == "option":
        return f"{each.opts[0]} {_metavar(each)}".strip() if each.required else ""
    word = _metavar(each)
    return word if word.startswith("[") or each.required else f"[{word}]"


def _names(each: Any) -> str:
    names = " ".join(code(name) for name in (*each.opts, *each.secondary_opts))
    if each.param_type_name == "argument":
        return code(_metavar(each))
    value = "" if each.is_flag else f" {code(_metavar(each))}"
    return names + value


def _metavar(each: Any) -> str:
    if getattr(each, "is_flag", False):
        return ""
    if each.metavar:
        return str(each.metavar)
    if each.param_type_name == "argument":
        return str(each.name).upper() + ("..." if each.nargs == -1 else "")
    choices = getattr(each.type, "choices", None)
    return "|".join(map(str, choices)) if choices else str(each.type.name).upper()


def _default(each: Any) -> str:
    value = each.default
    if value is None or callable(value) or value is False or value in ("", (), []) or "UNSET" in repr(value).upper():
        return ""
    return code(str(getattr(value, "value", value)))

"""docs/reference/cli.md: every command with its arguments and options, as `--help` has them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import typer

from loosh_pipeline.cli import app
from tests.docs.tables import code, table

HEAD = """\
# Commands

`loosh COMMAND --help` says the same in a terminal. With `--json` one JSON value is on stdout and nothing else.
[Commands and exit codes](../operating/commands.md) says what each is for, and with what it ends.
"""


KINDS = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH", datetime: "DAY"}


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
    """Of an argument, and of an option that must be given."""
    if each.param_type_name == "option":
        return f"{each.opts[0]} {_value(each)}".strip() if each.required else ""
    word = _value(each)
    return word if each.required or word.startswith("[") else f"[{word}]"


def _names(each: Any) -> str:
    if each.param_type_name == "argument":
        return code(_value(each))
    names = " ".join(code(name) for name in (*each.opts, *each.secondary_opts))
    return names if each.is_flag else f"{names} {code(_value(each))}"


def _value(each: Any) -> str:
    """What stands for the value of a parameter."""
    if each.is_flag if each.param_type_name == "option" else False:
        return ""
    if each.metavar:
        return str(each.metavar)
    if each.param_type_name == "argument":
        return str(each.name).upper()
    kind = each.type_descriptor.annotation
    return KINDS[next(iter(get_args(kind)), kind)]


def _default(each: Any) -> str:
    value = each.default
    shown = not (value is None or value is False or value in ("", (), []) or callable(value))
    return code(str(getattr(value, "value", value))) if shown else ""

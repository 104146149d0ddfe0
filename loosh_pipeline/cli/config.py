"""`loosh config …`: what is set, where it comes from, and what may be set."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from loosh_pipeline.cli.telling import err, out
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings
from loosh_pipeline.settings.read import given, warnings
from loosh_pipeline.settings.shown import DEFAULT, Shown, env_example, shown_settings

Json = Annotated[bool, typer.Option("--json", help="one JSON object")]


def show(
    names: Annotated[list[str] | None, typer.Argument(help="only these, such as NETUID or WEIGHTS")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="only what is not at its default")] = False,
    as_json: Json = False,
) -> None:
    """Print every setting: its value (secrets masked), where it comes from, and what it is for."""
    rows = shown_settings(get_settings(), *given())
    if names:
        if strange := [name for name in names if not any(name.upper() in row.name for row in rows)]:
            raise ConfigError(f"no setting's name holds {', '.join(strange)}; `loosh config show` lists all")
        rows = [row for row in rows if any(name.upper() in row.name for name in names)]
    rows = [row for row in rows if not changed or row.source != DEFAULT]
    if as_json:
        typer.echo(json.dumps({"settings": [asdict(row) for row in rows], "warnings": warnings()}))
        return
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            out.print(f"\n[bold]{escape(section)}[/]")
        out.print(_line(row), highlight=False, soft_wrap=True)
        out.print(Padding(Text(row.doc, style="dim"), (0, 0, 0, 6)))
    warn()


def _line(row: Shown) -> Text:
    line = Text("  ").append(row.name, style="bold cyan").append(f"={row.value}")
    if row.source == DEFAULT:
        return line
    return line.append(f"   from {row.source}; default: {row.default or 'unset'}", style="yellow")


def check(as_json: Json = False) -> None:
    """Say whether the settings can be used: end with 2 and name what is wrong otherwise."""
    from loosh_pipeline.running import check_canaries, check_databases

    check_databases(get_settings())
    check_canaries(get_settings())
    if as_json:
        typer.echo(json.dumps({"ok": True, "warnings": warnings()}))
    else:
        warn()
        out.print("the settings can be used; `loosh doctor` says whether what they name is there")


def example() -> None:
    """Print `env.example`: every setting with its default and what it is for."""
    typer.echo(env_example(), nl=False)


def warn() -> None:
    """Tell what was brought along from the existing validator and means something else here."""
    for line in warnings():
        err.print(f"[yellow]warning:[/] {escape(line)}", highlight=False, soft_wrap=True)

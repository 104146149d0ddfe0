"""`loosh import-validator` and `loosh move-database`: what was known elsewhere, taken over."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from loosh_pipeline.cli.telling import AsJson, err, out, tell_json
from loosh_pipeline.settings import get_settings

NOTHING = 3
"""Exit code for nothing that could be taken over."""


def import_validator(
    database: Annotated[Path, typer.Argument(help="the validator.db of an existing validator (its DB_PATH)")],
    users: Annotated[Path | None, typer.Option(help="its users.db; the one beside DATABASE by default")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be kept, and write nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Take over an existing validator's emissions and users, so that the first weights do not start from nothing.

    Its files are only read. Repeat it as often as you like, also while this validator runs: what is known is not kept
    twice. Ends with 3 when there was nothing that could be taken over.
    """
    from loosh_pipeline.moving.importing import Places, import_validator
    from loosh_pipeline.moving.report import facts, meaning, shown

    settings, now = get_settings(), datetime.now(UTC)
    places = Places(settings.tables_root, settings.users_url)
    longest_h = settings.emissions_emergency_lookback_h
    report = import_validator(database, users, places, now, dry_run=dry_run, longest_h=longest_h)
    means = meaning(report, now, settings.emissions_lookback_h, max(1, settings.weights_min_evidence_rounds))
    if report.live:
        err.print(
            f"[yellow]warning:[/] {escape(report.database)} is still being written. Import it again when its validator "
            "has stopped: only what is new is added",
            highlight=False,
            soft_wrap=True,
        )
    if as_json:
        typer.echo(json.dumps(facts(report, means)))
    else:
        out.print(shown(report))
        out.print(escape(means), highlight=False, soft_wrap=True)
    if not report.usable and not report.users_read:
        raise typer.Exit(NOTHING)


def move_database(as_json: AsJson = False) -> None:
    """Move challenges, results, weights and users from the files of LOOSH_HOME into the empty DATABASE_URL.

    All of it or nothing; the files stay as they are. The validator must not run: it is held meanwhile.
    """
    from loosh_pipeline.errors import ConfigError
    from loosh_pipeline.lock import validator_lock
    from loosh_pipeline.moving.database import move_database

    settings = get_settings()
    if settings.database_url is None:
        raise ConfigError("DATABASE_URL says where to: name an empty Postgres database")
    file = (settings.db_path or settings.home / "validator.db").expanduser()
    with validator_lock(settings.home):
        moved = move_database(file, settings.users_path, settings.database_url)
    if as_json:
        tell_json(moved)
        return
    said = ", ".join(f"{count:,} {name}" for name, count in moved.items()) or "nothing: there was nothing in it"
    out.print(f"moved from {file}: {said}", highlight=False, soft_wrap=True, markup=False)

"""`loosh backup`: a validator's data in one file."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loosh_pipeline.cli.telling import NOT_YET, AsJson, err, out, tell_json
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import get_settings

if TYPE_CHECKING:
    from loosh_pipeline.backup.archive import Manifest

say = functools.partial(err.print, highlight=False, soft_wrap=True, markup=False)


def backup(
    path: Annotated[
        Path | None,
        typer.Argument(help="a file, or a directory to put one into; LOOSH_HOME/backups", show_default=False),
    ] = None,
    with_history: Annotated[
        bool, typer.Option("--with-history", help="Dagster's records of runs too, which nothing depends on")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="delete all but so many of the backups in that directory", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep inbox, outbox, users and tables in one file; the validator may run meanwhile. Wallets and settings are not
    in it."""
    from loosh_pipeline.backup.places import Places
    from loosh_pipeline.backup.taking import NothingYet, file_named, keep_newest, require_data, short_id, take_backup
    from loosh_pipeline.errors import ConfigError

    settings, now = get_settings(), datetime.now(UTC)
    places, whose = Places.of(settings), short_id(settings)
    try:
        require_data(places)
        with _told_in_a_line():
            if path is None:
                path = places.home / "backups"
                path.mkdir(parents=True, exist_ok=True)
            target = file_named(path, now, whose)
        if keep is not None and target == path:
            raise ConfigError(f"--keep is for a directory of backups, and {path} is a file")
        taken = take_backup(places, target, now, with_history=with_history)
    except NothingYet as error:
        say(str(error))
        raise typer.Exit(NOT_YET) from error
    with _told_in_a_line(f"{taken.path} was written, but older ones could not be deleted: "):
        deleted = [] if keep is None or taken.missing else keep_newest(taken.path, keep, whose)
    for what in (*taken.manifest.elsewhere, *taken.skipped, *taken.missing):
        say(f"not in it: {what}")
    if as_json:
        tell_json(
            {"path": str(taken.path), "size_bytes": taken.size_bytes, "deleted": [str(each) for each in deleted]}
            | {"skipped": [*taken.skipped, *taken.missing], "manifest": taken.manifest.model_dump(mode="json")}
        )
    else:
        out.print(f"{taken.path}: {told_of(taken.manifest)}", highlight=False, soft_wrap=True, markup=False)
        for each in deleted:
            say(f"deleted {each}")
    if taken.missing:
        say("tables that were there when it began are missing, so no older backup was deleted; take another one")
        raise typer.Exit(1)


def told_of(manifest: Manifest) -> str:
    """What a backup holds, in a line."""
    from loosh_pipeline.backup.taking import megabytes

    challenges = manifest.rows.get("challenges", 0)
    return (
        f"{challenges:,} challenges, {sum(manifest.tables.values()):,} tables, {megabytes(manifest.size_bytes)}, "
        f"of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC, by {manifest.version}"
    )


@contextmanager
def _told_in_a_line(before: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{before}{error.filename}: {error.strerror}") from error

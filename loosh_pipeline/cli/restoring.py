"""`loosh restore`: a backup in the place of LOOSH_HOME, or challenges that Dagster shows no longer."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from loosh_pipeline.cli.keeping import told_of
from loosh_pipeline.cli.telling import NOT_YET, AsJson, err, out, tell_json
from loosh_pipeline.errors import ConfigError, UnknownChallenge
from loosh_pipeline.settings import Settings, get_settings

say = functools.partial(err.print, highlight=False, soft_wrap=True, markup=False)
NAMED = 10


def restore(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="BACKUP | CHALLENGE…", help="a file that `loosh backup` wrote, or ids of challenges"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="of a backup: only say whether it is whole; change nothing")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="of a backup: although there are data already: they are moved aside, not deleted"),
    ] = False,
    into: Annotated[
        Path | None, typer.Option(help="of a backup: a data directory other than settings name", show_default=False)
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="challenges of that day (UTC) and later", show_default=False),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="challenges of that day (UTC) and earlier", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into LOOSH_HOME, whole or not at all, while `loosh up` does not run there; or have Dagster show
    challenges again that it shows no longer, so that they can be looked at and scored again. It may run meanwhile.
    """
    names = what or []
    if not names and since is None and until is None:
        raise ConfigError("say what: the file of a backup, ids of challenges, or days with --since and --until")
    if backups := [name for name in names if _is_file(name)]:
        if len(names) > 1 or since is not None or until is not None:
            raise ConfigError(f"{backups[0]} is a file: restore a backup by itself, and challenges in another command")
        _restore_backup(Path(backups[0]), check, force, into, as_json)
        return
    if check or force or into is not None:
        raise ConfigError("--check, --force and --into are for a backup, and no file was named")
    _restore_challenges(get_settings(), names, since, until, as_json)


def _is_file(name: str) -> bool:
    """Whether an argument is meant as a backup: there is such a file, or no id of a challenge looks like that."""
    return os.path.lexists(name) or name.endswith(".tar") or os.path.isabs(name)


def _restore_backup(path: Path, check: bool, force: bool, into: Path | None, as_json: bool) -> None:
    from loosh_pipeline.backup.places import Places
    from loosh_pipeline.backup.restoring import check_backup, restore_backup

    if check:
        manifest = check_backup(path)
        told: dict[str, Any] = {"path": str(path), "whole": True}
        text = f"{path} is whole: {told_of(manifest)}"
    else:
        places = Places.of(get_settings()) if into is None else Places.usual(into)
        restored = restore_backup(path, places, datetime.now(UTC), force=force, say=say)
        manifest = restored.manifest
        told = {"home": str(restored.home), "aside": None if restored.aside is None else str(restored.aside)}
        text = f"{restored.home} holds {told_of(manifest)}"
        if restored.aside is not None:
            say(f"what was there is in {restored.aside}")
        for what in manifest.elsewhere:
            say(f"not in it: {what}")
    if as_json:
        tell_json({**told, "manifest": manifest.model_dump(mode="json")})
    else:
        out.print(text, highlight=False, soft_wrap=True, markup=False)


def _restore_challenges(
    settings: Settings, names: Sequence[str], since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    from dataclasses import asdict

    from loosh_pipeline.retention.restoring import Restorer, validators_instance
    from loosh_pipeline.store.database import stands_at
    from loosh_pipeline.store.inbox import Inbox

    if stands_at(settings.inbox_url, "inbox") == "not made yet":
        first = names[0] if names else "a challenge"
        raise UnknownChallenge(f"{first} is neither a file nor a challenge: none was accepted in {settings.home} yet")
    inbox = Inbox.open(settings.inbox_url)
    ids = _meant(inbox, names, since, until)
    if not ids:
        say("no challenge was accepted in those days")
        raise typer.Exit(NOT_YET)
    with validators_instance(settings) as instance, Progress(console=err, transient=True) as bar:
        task = bar.add_task("challenges", total=len(ids))
        done = Restorer(instance, inbox, settings).restore(ids, lambda count: bar.advance(task, count))
    for which, why in ((done.not_over, "are being evaluated"), (done.without_tables, "have no tables any more")):
        if which:
            more = f" and {len(which) - NAMED} more" if len(which) > NAMED else ""
            say(f"left as they are, as they {why}: {', '.join(which[:NAMED])}{more}")
    if as_json:
        tell_json(asdict(done))
    else:
        text = f"shown again: {done.challenges:,} (challenges); noted: {done.materializations:,} (of their assets)"
        out.print(text, highlight=False, soft_wrap=True, markup=False)


def _meant(inbox: Any, names: Sequence[str], since: datetime | None, until: datetime | None) -> list[str]:
    """Ids of the challenges that are named, and of those of the days. Raises UnknownChallenge for one that is not."""
    known = {row.id for row in inbox.get_many(names)} if names else set()
    if unknown := [name for name in names if name not in known]:
        raise UnknownChallenge(
            f"{unknown[0]} is neither a file nor a challenge that was accepted here; `loosh restore` takes the file "
            "of a backup, or ids as they were accepted"
        )
    of_days: Sequence[str] = ()
    if since is not None or until is not None:
        first = since.replace(tzinfo=UTC) if since is not None else datetime(1970, 1, 2, tzinfo=UTC)
        last = until.replace(tzinfo=UTC) if until is not None else datetime.now(UTC)
        of_days = inbox.received_between(first, last + timedelta(days=1))
    return list(dict.fromkeys([*names, *of_days]))

"""Whether a directory that all machines are to share is the same one on each: one that was not mounted looks empty.

Whoever is first leaves a mark in it, which the database knows; who finds another mark, or none, is elsewhere.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import DRAWS, KEEPS
from loosh_pipeline.store.schema import flags

MARK = ".loosh-shared"


def shared_places(settings: Settings) -> Mapping[str, Path]:
    """Directories that this machine shares with others, by setting; none where there are no others."""
    if not settings.spread:
        return {}
    found = {}
    if settings.runs_here(*KEEPS) and "://" not in settings.tables_root:
        found["TABLES_DIR"] = Path(settings.tables_root)
    if settings.runs_here(*DRAWS):
        found["HEATMAPS_DIR"] = settings.heatmaps_root
    return {setting: path.expanduser().absolute() for setting, path in found.items()}


def check_shared(settings: Settings, engine: Engine, now: datetime) -> None:
    """Raises StoreError for a directory that is not the one of the other machines."""
    for setting, directory in shared_places(settings).items():
        mark = _marked(directory)
        if _known(engine, setting, mark, now) != mark:
            raise StoreError(
                f"{directory} ({setting}) is not the directory that other machines of this validator use; mount that "
                f"one here. If it was moved, take its file {MARK} along"
            )


def _marked(directory: Path) -> str:
    """What its mark says; it gets one where it has none."""
    path = directory / MARK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            own = directory / f"{MARK}-{uuid.uuid4().hex}"
            own.write_text(uuid.uuid4().hex)
            with suppress(FileExistsError):  # another machine was first
                os.link(own, path)
            own.unlink()
        return path.read_text().strip()[:64]
    except OSError as error:
        raise StoreError(f"{directory} cannot be used: {error.strerror}; is it mounted, and this user's?") from error


def _known(engine: Engine, setting: str, mark: str, now: datetime) -> str:
    """The mark that the database has for a setting: this one, where it has none yet."""
    insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
    name = f"shared:{setting}"
    with engine.begin() as connection:
        new = insert(flags).values(name=name, value=mark, changed_at=now)
        connection.execute(new.on_conflict_do_nothing())
        return str(connection.execute(select(flags.c.value).where(flags.c.name == name)).scalar_one())

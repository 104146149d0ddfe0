"""Whether a database is ours, and of no later release, before anything of it is changed.

Light, as the supervisor asks before it starts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from loosh_pipeline.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
Schema = Literal["inbox", "users"]
OURS: Mapping[Schema, str] = {"inbox": "challenges", "users": "users"}
"""A table that each of our databases has had since its first revision."""
LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
LOCKED_FOR_S = 30.0
"""How long somebody else's lock is waited for, as everywhere."""
EXISTING = frozenset({"evaluation_results", "inference_responses", "users"})
"""Tables of the network's existing validator, whose `.env` names its databases as ours are named."""


def check_ours(path: Path, schema: Schema, within_s: float | None = None, how: str = "mode=ro") -> None:
    """Raises StoreError for a database whose tables no migration of ours has made, or one of a later release.

    `how` it is opened, as parameters of SQLite's URI.
    """
    query, uri = "SELECT name FROM sqlite_master WHERE type = 'table'", f"file:{quote(str(path.absolute()))}?{how}"
    within_s = LOCKED_FOR_S if within_s is None else within_s
    revisions: list[tuple[str]] = []
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=within_s)) as connection:
            tables = {name for (name,) in connection.execute(query)}
            if ours := "alembic_version" in tables and (OURS[schema] in tables or len(tables) == 1):
                revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in LOCKED:  # when it is free again, it may be another program's
            raise StoreError(
                f"{path} is locked by another program, so that it cannot be told whose it is: {error}. Stop that, and "
                "try again"
            ) from error
        return  # there is none, or it cannot be read: whoever opens it next says so, and changes nothing
    for (revision,) in revisions:
        require_known_revision(schema, revision, f"the {schema} database {path}")
    if ours or not tables:
        return
    name, said = {"inbox": "DB_PATH", "users": "USERS_DB_PATH"}[schema], f"{path} is the database of another program"
    if tables & EXISTING:
        raise StoreError(
            f"{said}, the network's existing validator. Let {name} name a file that does not exist yet, or unset it, "
            "and take this one over with `loosh import-validator`"
        )
    raise StoreError(
        f"{said}: its tables are {', '.join(sorted(tables)[:8])}. Let {name} name another file, or unset it"
    )


def require_known_revision(schema: Schema, revision: str, what: str) -> None:
    """Raises StoreError when a schema is of a later release than this one: it cannot be read, nor taken back.

    Files of migrations begin with their revision.
    """
    known = sorted(path.name.partition("_")[0] for path in (MIGRATIONS / schema / "versions").glob("*_*.py"))
    if revision not in known:
        raise StoreError(
            f"{what} has schema revision {revision}, and this release ({version('loosh-pipeline')}) knows none after "
            f"{known[-1]}: it was written by a later release. Run that one, or restore a backup that was taken before "
            "the upgrade (`loosh restore`)"
        )

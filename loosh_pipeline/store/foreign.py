"""Whether a database is ours, before anything of it is changed. Light, as the supervisor asks before it starts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from loosh_pipeline.errors import StoreError

Schema = Literal["inbox", "users"]
EXISTING = frozenset({"evaluation_results", "inference_responses", "users"})
"""Tables of the network's existing validator, whose `.env` names its databases as ours are named."""


def check_ours(path: Path, schema: Schema) -> None:
    """Raises StoreError for a database whose tables no migration of ours has made, before anything of it is changed."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute(query)}
    except sqlite3.Error:
        return  # it is opened below, where what is wrong is told
    if not tables or "alembic_version" in tables:
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

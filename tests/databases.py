"""Empty databases, made once a process and copied: bringing one up to date takes longer than most tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from loosh_pipeline.store import database
from loosh_pipeline.store.foreign import MIGRATIONS, Schema

_migrate = database._migrate


def migrate_by_copy(engine: Engine, schema: Schema) -> None:
    """As `open_database` brings a schema up to date: a new file of SQLite by a copy of one that was migrated."""
    file = Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None
    if file is not None and database.MIGRATIONS == MIGRATIONS and _is_new(file):
        file.write_bytes(_up_to_date(schema))
    _migrate(engine, schema)


def _is_new(file: Path) -> bool:
    return file.is_file() and file.stat().st_size == 0 and not Path(f"{file}-wal").exists()


@cache
def _up_to_date(schema: Schema) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        file.touch()
        engine = database.create_engine(f"sqlite:///{file}")
        database._tune_sqlite(engine)
        _migrate(engine, schema)
        engine.dispose()
        return file.read_bytes()

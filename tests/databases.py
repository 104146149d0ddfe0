"""Empty databases, made once a process and copied: bringing one up to date takes longer than most tests."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, text

from loosh_pipeline.store import database
from loosh_pipeline.store.foreign import MIGRATIONS, Schema

_migrate = database._migrate
_scripts: dict[Schema, str] = {}


def migrate_by_copy(engine: Engine, schema: Schema) -> None:
    """As `open_database` brings a schema up to date; what is new and empty becomes a copy of one that was migrated."""
    if database.MIGRATIONS == MIGRATIONS:
        if engine.dialect.name == "sqlite":
            _copied_file(Path(engine.url.database or ""), schema)
        elif engine.dialect.name == "postgresql" and _is_empty(engine):
            _copied_server(engine, schema)
    _migrate(engine, schema)


def _copied_file(file: Path, schema: Schema) -> None:
    if file.is_file() and file.stat().st_size == 0 and not Path(f"{file}-wal").exists():
        file.write_bytes(_file_of(schema))


@cache
def _file_of(schema: Schema) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        file.touch()
        engine = database.create_engine(f"sqlite:///{file}")
        database._tune_sqlite(engine)
        _migrate(engine, schema)
        engine.dispose()
        return file.read_bytes()


def _is_empty(engine: Engine) -> bool:
    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('public')"
        return not connection.execute(text(query)).scalar_one()


def _copied_server(engine: Engine, schema: Schema) -> None:
    if schema not in _scripts:
        _migrate(engine, schema)
        _scripts[schema] = _dumped(engine)
        return
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(_scripts[schema])
        cursor.execute("RESET ALL")


def _dumped(engine: Engine) -> str:
    """What makes such a database, in SQL alone: commands of psql begin with a backslash."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "--schema=public", f"--dbname={url}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if not line.startswith(("\\", "CREATE SCHEMA"))]
    return "\n".join(lines)

"""Whether a database can be written right now, found out by writing."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.database import BUSY_TIMEOUT_MS
from loosh_pipeline.store.schema import flags

PROBE = "probed"
SAID_BY_SQLITE = (
    "database is locked",
    "database or disk is full",
    "disk I/O error",
    "attempt to write a readonly database",
    "database disk image is malformed",
)
WAIT_MS = 1500
"""Our own transactions hold the lock for milliseconds."""


def check_writable(engine: Engine, now: datetime) -> None:
    """Commit a row of no meaning. Raises StoreError with the reason when that cannot be done soon.

    The reason is told to strangers: of another server's, which may name host and port, it holds the kind alone.
    """
    if engine.dialect.name == "sqlite" and engine.url.database and not Path(engine.url.database).exists():
        raise StoreError("the store cannot be written: its file is gone; restore it and restart")
    insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
    change = {"value": "", "changed_at": now}
    statement = insert(flags).values(name=PROBE, **change)
    try:
        with _impatient(engine) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=change))
    except SQLAlchemyError as error:
        raise StoreError(f"the store cannot be written: {_said(engine, error)}") from error


def _said(engine: Engine, error: SQLAlchemyError) -> str:
    """Why a write failed. SQLite calls it an I/O error that a file system was made read-only under its open file."""
    if engine.dialect.name == "sqlite" and engine.url.database and is_read_only(Path(engine.url.database).parent):
        return "its file system is read-only; look into the kernel's log, and repair or remount it"
    cause = getattr(error, "orig", None) or error
    said = str(cause) if str(cause) in SAID_BY_SQLITE else type(cause).__name__
    return f"{said}; is its disk full, or locked?"


def is_read_only(directory: Path) -> bool:
    """Whether a directory's file system takes no writes at all; tried, as not every kernel shows it in the flags."""
    probe = directory / f".{uuid.uuid4().hex}.tmp"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        return error.errno == errno.EROFS
    return False


@contextmanager
def _impatient(engine: Engine) -> Iterator[Any]:
    """A connection that does not wait long for SQLite's write lock."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if engine.dialect.name != "sqlite":
            yield connection
            return
        driver.execute(f"PRAGMA busy_timeout={WAIT_MS}")
        try:
            yield connection
        finally:
            driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

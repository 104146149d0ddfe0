"""Opening a database: create it, set its pragmas, bring its schema up to date."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from loosh_pipeline.errors import StoreError
from loosh_pipeline.owners import barrier, when_denied
from loosh_pipeline.store.foreign import LOCKED, MIGRATIONS, Schema, check_ours, require_known_revision

BUSY_TIMEOUT_MS = 30_000
LOOK_WITHIN_S = 5.0
_BETWEEN_TRIES_S = 0.01
LEAST_ROOM_BYTES = 64 * 1024
BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
BY_LIBPQ = ("psycopg2", "psycopg")
KEPT_ALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""Seconds, and probes: who waits for a server that is gone is not to wait for hours."""
MIGRATION_LOCK_ID = 7_802_026
"""Key of the advisory lock under which one process migrates a Postgres database."""


def open_database(url: str, schema: Schema) -> Engine:
    """Engine on `url`, created if missing and migrated to the newest schema version.

    Raises StoreError with the path and the reason when it cannot be opened, is newer than this code, or is the database
    of another program, which is then not touched.
    """
    parsed = _parsed(url, schema)
    try:
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            _create_private(Path(parsed.database))
            check_ours(Path(parsed.database), schema)
        # An error is logged: it is not to quote a prompt that could not be written.
        pre_ping = parsed.get_backend_name() != "sqlite"
        kept = KEPT_ALIVE if parsed.get_driver_name() in BY_LIBPQ else {}
        engine = create_engine(parsed, pool_pre_ping=pre_ping, hide_parameters=True, connect_args=kept)
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine)
        _migrate(engine, schema)
    except (SQLAlchemyError, ImportError, OSError, CommandError) as error:
        said = f"cannot open the {schema} database {parsed.render_as_string(hide_password=True)}: {_cause(error)}"
        raise StoreError(f"{said}; {_remedy(error, _file_of(parsed))}") from error
    return engine


def stands_at(url: str, schema: Schema) -> Literal["not made yet", "of an older release", "up to date"]:
    """How a database stands to this release, without making, migrating or changing it.

    Raises StoreError when it is newer, cannot be reached, or is no database.
    """
    parsed = _parsed(url, schema)
    shown = parsed.render_as_string(hide_password=True)
    file = _file_of(parsed)
    try:
        if file is not None and not _has_content(file):
            return "not made yet"
        if file is not None:
            check_ours(file, schema, LOOK_WITHIN_S, _how_to_look(file))
        revision = _revision_of(parsed, file, schema)
    except (SQLAlchemyError, ImportError, OSError) as error:
        said = f"the {schema} database {shown} cannot be read: {_cause(error)}"
        raise StoreError(f"{said}; {_remedy(error, file)}") from error
    if revision is not None:
        require_known_revision(schema, revision, f"the {schema} database {shown}")
    head = ScriptDirectory.from_config(_config(schema)).get_current_head()
    return "up to date" if revision == head else "of an older release"


def _has_content(file: Path) -> bool:
    """Raises OSError where that cannot be told."""
    try:
        return file.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def _revision_of(url: URL, file: Path | None, schema: Schema) -> str | None:
    with _looking(url, file) as connection:
        return _revision_in(connection, schema)


@contextmanager
def looking(url: str, schema: Schema) -> Iterator[Connection]:
    """A connection to a database that `stands_at` found fine; nothing is made, migrated or left on disk by it."""
    parsed = _parsed(url, schema)
    with _looking(parsed, _file_of(parsed)) as connection:
        yield connection


@contextmanager
def _looking(url: URL, file: Path | None) -> Iterator[Connection]:
    if file is None:
        engine = create_engine(url, connect_args={"connect_timeout": int(LOOK_WITHIN_S)})
    else:
        engine = create_engine(_only_reading(url, _how_to_look(file)), connect_args={"timeout": LOOK_WITHIN_S})
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _file_of(url: URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _cause(error: Exception) -> str:
    """What the driver said, in one line: SQLAlchemy adds its statement and a link."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _remedy(error: Exception, file: Path | None) -> str:
    """A backup is for what is broken, and for nothing else."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if isinstance(cause, ImportError | NoSuchModuleError):
        return "set DATABASE_URL right, or install the package that is named"
    if file is None:
        return "is the server up, and are host, port, user and password right (DATABASE_URL)?"
    if code in LOCKED:
        return "another program holds it: find that (`fuser -v FILE`), and look again when it has ended"
    if code == sqlite3.SQLITE_FULL or not _has_room(barrier(file)):
        return "the disk is full: free space (docs/operating/retention.md says what grows); nothing accepted is lost"
    if code in BROKEN:
        return "stop the validator, and restore a backup (`loosh restore`)"
    if isinstance(cause, PermissionError) or code == sqlite3.SQLITE_CANTOPEN:
        return when_denied(file)
    return "see that its disk is there, and look into the kernel's log (`dmesg`)"


def _has_room(there: Path) -> bool:
    """For the index of a journal, without which SQLite cannot even read."""
    try:
        numbers = os.statvfs(there)
    except OSError:
        return True
    return numbers.f_bavail * numbers.f_frsize >= LEAST_ROOM_BYTES or numbers.f_blocks == 0  # such as /proc


def _how_to_look(file: Path) -> str:
    """The parameters by which SQLite only reads a file. Reading one in WAL mode makes files beside it, but for one that
    is said not to change: where nobody has it open, no journal lies there.
    """
    journals = (Path(f"{file}{end}") for end in ("-wal", "-journal"))
    return "mode=ro" if any(os.path.lexists(each) for each in journals) else "mode=ro&immutable=1"


def _parsed(url: str, schema: Schema) -> URL:
    try:
        parsed = make_url(with_driver(url))
    except ArgumentError as error:
        raise StoreError(
            f"the URL of the {schema} database cannot be read; write it like sqlite:////path/validator.db "
            "or postgresql+psycopg2://user:password@host/loosh"
        ) from error
    return parsed


def with_driver(url: str) -> str:
    """The URL of a Postgres with the driver that is installed, where it names none."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg2{separator}{rest}" if scheme in ("postgresql", "postgres") else url


def _only_reading(file: URL, how: str) -> URL:
    """The URL by which SQLite opens a file that must not change."""
    return file.set(database=f"file:{quote(file.database or '')}", query={**dict(parse_qsl(how)), "uri": "true"})


def _create_private(path: Path) -> None:
    """An empty database that only its owner can read, as it will hold session keys; one that exists is left alone.

    SQLite gives the files beside it the same mode.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _tune_sqlite(engine: Engine) -> None:
    """WAL, full durability, foreign keys, and write transactions that take the lock at once."""

    @event.listens_for(engine, "connect")
    def on_connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("loosh_readonly", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """A new database is switched by whoever comes first. SQLite waits for no lock here, whatever its timeout: of
    several processes that start together, some would fail.
    """
    deadline_s = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(_BETWEEN_TRIES_S)
        else:
            return


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for reading: never waits for, nor holds up, a writer."""
    with engine.connect().execution_options(loosh_readonly=True) as connection:
        yield connection


def _migrate(engine: Engine, schema: Schema) -> None:
    config = _config(schema)
    current = schema_version(engine, schema)
    if current == ScriptDirectory.from_config(config).get_current_head():
        return
    if current is not None:
        require_known_revision(
            schema, current, f"the {schema} database {engine.url.render_as_string(hide_password=True)}"
        )
    with engine.begin() as connection:  # one transaction: a killed migration leaves nothing half done
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK_ID})
        config.attributes["connection"] = connection
        config.attributes["version_table"] = version_table(connection, schema)
        command.upgrade(config, "head")


def _config(schema: Schema) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS / schema).replace("%", "%%"))
    return config


def schema_version(engine: Engine, schema: Schema = "inbox") -> str | None:
    """Revision of the schema that a database stands at."""
    with reading(engine) as connection:
        return _revision_in(connection, schema)


def _revision_in(connection: Connection, schema: Schema) -> str | None:
    return MigrationContext.configure(
        connection, opts={"version_table": version_table(connection, schema)}
    ).get_current_revision()


def version_table(connection: Connection, schema: Schema) -> str:
    """Where the revision of a schema stands. A file holds one schema, a server all of ours."""
    if schema == "users" and connection.dialect.name != "sqlite":
        return "alembic_version_users"
    return "alembic_version"

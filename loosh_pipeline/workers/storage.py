"""Dagster's SQLite storage, for processes that execute thousands of runs.

The stock one opens a connection, and makes an SQLAlchemy engine for it, for every statement, and asks Alembic about
every run's file: together more than half of what a run of a few assets costs. Here connections are kept, and a run's
file begins as a copy of a prepared one. Files and tables are the stock ones: either storage reads what the other wrote.

`synchronous=NORMAL`: with a write-ahead log nothing is lost when a process is killed. After a loss of power the last
events of a run may be; it then counts as dead and is followed by another. What must not be lost lies in the inbox.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from dagster import __version__ as dagster_version
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, event, inspect, text

OPEN_FILES = 32
"""Run files that stay open in a process: a worker writes to one, the web server reads a few."""


class Engines:
    """Engines with open connections by URL: those used last. A process that was forked begins with none."""

    def __init__(self, most: int = OPEN_FILES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._pid = os.getpid()

    @contextmanager
    def begin(self, url: str) -> Iterator[Connection]:
        """A connection within a transaction."""
        with self._engine(url).begin() as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()

    def _engine(self, url: str) -> Engine:
        with self._lock:
            if self._pid != os.getpid():  # connections of another process must be neither used nor closed
                self._engines, self._pid = OrderedDict(), os.getpid()
            if (engine := self._engines.get(url)) is None:
                engine = self._engines[url] = _open(url)
                if len(self._engines) > self._most:
                    self._engines.popitem(last=False)[1].dispose()
            self._engines.move_to_end(url)
            return engine


def _open(url: str) -> Engine:
    connect = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    engine: Engine = create_engine(url, connect_args=connect)

    @event.listens_for(engine, "connect")
    def on_connect(dbapi_connection: Any, _record: Any) -> None:
        with closing(dbapi_connection.cursor()) as cursor:
            cursor.execute("PRAGMA synchronous=NORMAL")

    return engine


class WarmEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that keeps connections and copies a prepared file for each run."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    def has_table(self, table_name: str) -> bool:
        """Asked some thirty times a run; a table that is there stays."""
        if table_name not in self._tables:
            with self.index_connection() as connection:
                if not inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        url = self.conn_string_for_shard(shard)
        if shard not in self._initialized_dbs:
            with self._db_lock:
                self._prepare(shard)
                self._initialized_dbs.add(shard)
        with self._engines.begin(url) as connection:
            yield connection

    def _prepare(self, shard: str) -> None:
        """Make the file of a run, or see that it is whole. Another process may be doing the same."""
        path = Path(self.path_for_shard(shard))
        if shard != INDEX_SHARD_NAME and not path.exists():
            copy = path.with_name(f".{path.stem}-{uuid.uuid4().hex}")
            shutil.copyfile(self._template(), copy)
            with suppress(FileExistsError):
                os.link(copy, path)
            copy.unlink()
        with self._engines.begin(self.conn_string_for_shard(shard)) as connection:
            tables = connection.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"))
            whole = tables.scalar() and connection.execute(text("SELECT count(*) FROM alembic_version")).scalar()
        if not whole:  # the stock storage of another process has just begun it
            with closing_engine(self.conn_string_for_shard(shard)) as engine:
                self._initdb(engine, for_index_shard=shard == INDEX_SHARD_NAME)

    def _template(self) -> Path:
        """An empty file of a run, as the stock storage makes it."""
        path = Path(self._base_dir) / f".empty-run-{dagster_version}"
        if not path.exists():
            making = path.with_name(f".{uuid.uuid4().hex}")
            with closing_engine(f"sqlite:///{making}") as engine:
                self._initdb(engine)
                with engine.connect() as connection:
                    connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            making.replace(path)
        return path

    def dispose(self) -> None:
        self._engines.close()
        super().dispose()


class WarmRunStorage(SqliteRunStorage):
    """`SqliteRunStorage` that keeps its connections."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines = Engines()
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engines.begin(self._conn_string) as connection:
            yield connection

    def dispose(self) -> None:
        self._engines.close()
        super().dispose()


class WarmSqliteStorage(DagsterSqliteStorage):
    """The storage that `dagster.yaml` names: runs and events as above, schedules as they come."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._run_storage = WarmRunStorage.from_local(_runs_directory(base_dir))
        self._event_log_storage = WarmEventLogStorage(_event_logs_directory(base_dir))
        self._schedule_storage = SqliteScheduleStorage.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> WarmSqliteStorage:
        return cls.from_local(inst_data=inst_data, **config_value)


@contextmanager
def closing_engine(url: str) -> Iterator[Engine]:
    """An engine for a moment."""
    engine: Engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
    try:
        yield engine
    finally:
        engine.dispose()

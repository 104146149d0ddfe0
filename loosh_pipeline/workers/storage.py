"""Dagster's SQLite storage, for processes that execute thousands of runs.

The stock one opens a connection, and makes an SQLAlchemy engine for it, for every statement, and asks Alembic about
every run's file: together more than half of what a run of a few assets costs. Here connections are kept, and a run's
file begins as a copy of a prepared one. Files and tables are the stock ones: either storage reads what the other wrote.

`synchronous=NORMAL`: with a write-ahead log nothing is lost when a process is killed. A loss of power can take events
of runs that were not over, all of them even, though Dagster's table of runs still says how far those were. Their files
stay whole, as a file is on the disk before it has the name of a run; what a finished run wrote is there once it was
released. Runs that are left so are ended by `challenge_sensor`. What must not be lost lies in the inbox.

A file that is no database all the same is set aside, as `.broken-RUN_ID-TIME`, and the run goes on with an empty one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from dagster import AssetKey, DagsterEventType
from dagster import __version__ as dagster_version
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetKeyTable, DynamicPartitionsTable, SqlEventLogStorageTable
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
from sqlalchemy import Connection, Engine, Select, event, func, inspect, select, text
from sqlalchemy.exc import DatabaseError

logger = logging.getLogger(__name__)

NO_DATABASE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
OPEN_FILES = 32
"""Run files that stay open in a process: a worker writes to one, the web server reads a few."""
KNOWN_FILES = 4096
"""Run files that a process remembers to have looked at."""


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

    def release(self, url: str) -> None:
        """Close the connections to a file after putting what its log holds where it belongs, on the disk.

        Who reads or writes it just now is not waited for; the last one that closes it removes the log.
        """
        if (engine := self._taken(url)) is None:
            return
        try:
            with engine.connect() as connection:
                connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))
        except DatabaseError as error:
            logger.warning("what was written last of %s is only in its log: %s", url, error)
        finally:
            engine.dispose()

    def drop(self, url: str) -> None:
        """Close the connections to a file that is there no longer."""
        if (engine := self._taken(url)) is not None:
            engine.dispose()

    def _taken(self, url: str) -> Engine | None:
        with self._lock:
            return self._engines.pop(url, None) if self._pid == os.getpid() else None

    def close(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
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
    engine: Engine = create_engine(url, connect_args=connect, hide_parameters=True)  # errors quote no prompts

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
        self._files: dict[str, tuple[int, int] | None] = {}
        super().__init__(base_dir, inst_data)

    def has_table(self, table_name: str) -> bool:
        """Asked some thirty times a run; a table that is there stays."""
        if table_name not in self._tables:
            with self.index_connection() as connection:
                if not inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        """All keys in the order in which they came.

        A run of whatever follows all challenges asks this, and there may be 20,000: the rows of the driver as they are
        cost half of the stock storage's.
        """
        keys = DynamicPartitionsTable.c
        query = select(keys.partition).where(keys.partitions_def_name == partitions_def_name).order_by(keys.id)
        with self.index_connection() as connection:
            cursor = connection.execute(query).cursor
            return [] if cursor is None else [key for (key,) in cursor.fetchall()]

    def get_latest_asset_partition_materialization_attempts_without_materializations(
        self, asset_key: AssetKey, after_storage_id: int | None = None
    ) -> Mapping[str, tuple[str, int]]:
        """The newest attempt (run, event) at each partition after which it was not materialized.

        Asset pages ask this whenever a challenge has come since they asked last. The stock storage reads two events of
        every partition there is, this one the index, and what is left.
        """
        if self._was_wiped(asset_key):
            return super().get_latest_asset_partition_materialization_attempts_without_materializations(
                asset_key, after_storage_id
            )
        with self.index_connection() as connection:
            rows = connection.execute(unfinished(asset_key, after_storage_id or 0)).all()
        return {row.partition: (row.run_id, row.id) for row in rows}

    def _was_wiped(self, asset_key: AssetKey) -> bool:
        """Then events before that do not count, which only the stock storage heeds."""
        keys = AssetKeyTable.c
        query = select(keys.wipe_timestamp).where(keys.asset_key == asset_key.to_string())
        with self.index_connection() as connection:
            return connection.execute(query).scalar() is not None

    def store_event(self, event: EventLogEntry) -> None:
        """Keep an event, and wake those who watch the run: they watch its file, and a commit touches only the log."""
        super().store_event(event)
        with suppress(FileNotFoundError):  # somebody wiped it
            os.utime(self.path_for_shard(event.run_id))

    def release(self, run_id: str) -> None:
        """Nothing more comes of this run here: its events go to the disk, and its file is closed."""
        self._files.pop(run_id, None)
        self._engines.release(self.conn_string_for_shard(run_id))

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        path, url = Path(self.path_for_shard(shard)), self.conn_string_for_shard(shard)
        known = self._files.get(shard)  # asked once: another thread may forget it
        if known is None or known != _identity(path):
            self._begin(shard, path, url)
        try:
            with self._engines.begin(url) as connection:
                yield connection
        except DatabaseError as error:
            if shard != INDEX_SHARD_NAME and _no_database(error):
                self._set_aside(shard)
            raise

    def _begin(self, shard: str, path: Path, url: str) -> None:
        """Begin with a file: a new one, one that another process made, or one in place of what was taken away."""
        with self._db_lock:
            if (known := self._files.get(shard)) is not None and known == _identity(path):
                return  # by another thread
            self._engines.drop(url)
            try:
                self._prepare(shard)
            except DatabaseError as error:
                if shard == INDEX_SHARD_NAME or not _no_database(error):
                    raise
                self._set_aside(shard)
                self._prepare(shard)
            if len(self._files) >= KNOWN_FILES:
                self._files.clear()
            self._files[shard] = _identity(path)

    def _prepare(self, shard: str) -> None:
        """Make the file of a run, or see that it is whole. Another process may be doing the same."""
        path = Path(self.path_for_shard(shard))
        if shard != INDEX_SHARD_NAME and not path.exists():
            copy = path.with_name(f".{path.stem}-{uuid.uuid4().hex}")
            template = self._template()
            try:
                shutil.copyfile(template, copy)
                _sync(copy)
                with suppress(FileExistsError):
                    os.link(copy, path)
            finally:  # a full disk must not fill further with every try
                copy.unlink(missing_ok=True)
            _sync(path.parent)
        with self._engines.begin(self.conn_string_for_shard(shard)) as connection:
            tables = connection.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"))
            whole = tables.scalar() and connection.execute(text("SELECT count(*) FROM alembic_version")).scalar()
        if not whole:  # the stock storage of another process has just begun it
            with closing_engine(self.conn_string_for_shard(shard)) as engine:
                self._initdb(engine, for_index_shard=shard == INDEX_SHARD_NAME)

    def _set_aside(self, shard: str) -> None:
        """Give the file of a run another name if it is no database. One process does so at a time, and looks first."""
        path, url = Path(self.path_for_shard(shard)), self.conn_string_for_shard(shard)
        self._engines.drop(url)
        with _alone_in(path.parent):
            if not path.exists() or _is_database(url):
                return
            aside = path.with_name(f".broken-{shard}-{time.time_ns()}")
            for suffix in ("-wal", "-shm", ""):  # a log that stayed would be read into the next file
                with suppress(FileNotFoundError):
                    os.rename(f"{path}{suffix}", f"{aside}{suffix}")
        logger.error("the events of run %s cannot be read; set aside as %s, the run goes on without them", shard, aside)

    def _template(self) -> Path:
        """An empty file of a run, as the stock storage makes it."""
        path = Path(self._base_dir) / f".empty-run-{dagster_version}"
        if not path.exists():
            making = path.with_name(f".{uuid.uuid4().hex}")
            with closing_engine(f"sqlite:///{making}") as engine:
                self._initdb(engine)
                with engine.connect() as connection:
                    connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            _sync(making)
            making.replace(path)
        return path

    def dispose(self) -> None:
        self._engines.close()
        super().dispose()


def unfinished(asset_key: AssetKey, after: int) -> Select[Any]:
    """Partition, run and id of every newest plan to materialize, later than `after`, that nothing came of yet."""
    events, made = SqlEventLogStorageTable, SqlEventLogStorageTable.alias()
    of_it = events.c.asset_key == asset_key.to_string(), events.c.partition.is_not(None), events.c.id > after
    planned = (
        select(events.c.partition, func.max(events.c.id).label("id"))
        .where(*of_it, events.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value)
        .group_by(events.c.partition)
        .subquery()
    )
    followed = select(made.c.id).where(
        made.c.asset_key == asset_key.to_string(),
        made.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value,
        made.c.partition == planned.c.partition,
        made.c.id > planned.c.id,
    )
    left = select(planned).where(~followed.exists()).subquery()
    return select(left.c.partition, events.c.run_id, left.c.id).join_from(left, events, events.c.id == left.c.id)


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


def sweep_copies(base_dir: Path, before: float) -> None:
    """Remove files of runs that were being made when their process was killed: those last written before that time."""
    for path in Path(_event_logs_directory(str(base_dir))).glob(".*"):
        with suppress(FileNotFoundError):  # it was finished just now
            kept = path.name.startswith((".empty-run-", ".broken-", ".db"))  # `.db`: of what no run reported
            if not kept and path.stat().st_mtime < before:
                path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file this is; None when there is none. Connections to one that was deleted would write into nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: some tenths of a millisecond on an SSD."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _no_database(error: DatabaseError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in NO_DATABASE


def _is_database(url: str) -> bool:
    """Whether all of a file can be read."""
    with closing_engine(url) as engine:
        try:
            with engine.connect() as connection:
                return connection.execute(text("PRAGMA quick_check(1)")).scalar() == "ok"
        except DatabaseError as error:
            if _no_database(error):
                return False
            raise

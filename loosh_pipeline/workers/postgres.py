"""Dagster's Postgres storage, for processes that execute thousands of runs.

The stock one opens a connection for every statement, some hundred a run: each is a process of the server, and a
handshake. Here runs, events and schedules share a few connections, which are kept while a run lasts and closed with it,
so that workers that wait for work hold none. Tables are the stock ones: either storage reads what the other wrote.

A process that was forked begins without connections: those of its parent are neither used nor closed by it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import Any

from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import Engine, make_url

from loosh_pipeline.store.database import with_driver

CONNECT_WITHIN_S = 10
STATEMENT_WITHIN_MS = 120_000
"""No statement of a run takes a second; one that hangs must not hold its process for good."""
KEPT_OPEN, MOST_OPEN = 2, 22
"""Connections of a process: what it keeps, and what it opens at most while several threads or cursors need some."""
RENEWED_AFTER_S = 1800

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def warm_engine(url: str) -> Engine:
    """An engine that keeps its connections, each of which is looked at before it is used again."""
    parsed = make_url(with_driver(url))
    given = parsed.query.get("options", "")
    ours = f"-c statement_timeout={STATEMENT_WITHIN_MS} -c timezone=UTC"  # columns without a zone are read as UTC
    options = f"{given if isinstance(given, str) else ' '.join(given)} {ours}"
    engine: Engine = create_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT_OPEN,
        max_overflow=MOST_OPEN - KEPT_OPEN,
        pool_recycle=RENEWED_AFTER_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_WITHIN_S, "options": options.strip(), "keepalives_idle": 30},
        hide_parameters=True,  # errors quote no prompts
    )
    _engines.add(engine)
    return engine


def _leave_connections_to_the_parent() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections_to_the_parent)


class WarmPostgresEventLogStorage(PostgresEventLogStorage):
    """`PostgresEventLogStorage` on kept connections."""

    def __init__(self, engine: Engine, postgres_url: str, should_autocreate_tables: bool) -> None:
        self._tables: set[str] = set()
        super().__init__(postgres_url, should_autocreate_tables)
        self._engine = engine

    def has_table(self, table_name: str) -> bool:
        """Asked some thirty times a run; a table that is there stays."""
        if table_name not in self._tables:
            if not super().has_table(table_name):
                return False
            self._tables.add(table_name)
        return True

    def release(self, _run_id: str) -> None:
        """Nothing more comes of this run here: whoever waits for work holds no connection."""
        self._engine.dispose()

    def dispose(self) -> None:
        super().dispose()
        self._engine.dispose()


class WarmPostgresStorage(DagsterPostgresStorage):
    """The storage that `dagster.yaml` names where DAGSTER_DATABASE_URL is set."""

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.postgres_url = with_driver(postgres_url)
        self.should_autocreate_tables = should_autocreate_tables
        self._inst_data = inst_data
        engine = warm_engine(self.postgres_url)
        self._run_storage = PostgresRunStorage(self.postgres_url, should_autocreate_tables)
        self._event_log_storage = WarmPostgresEventLogStorage(engine, self.postgres_url, should_autocreate_tables)
        self._schedule_storage = PostgresScheduleStorage(self.postgres_url, should_autocreate_tables)
        self._run_storage._engine = self._schedule_storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> WarmPostgresStorage:
        autocreate = bool(config_value.get("should_autocreate_tables", True))
        return cls(pg_url_from_config(config_value), autocreate, inst_data)

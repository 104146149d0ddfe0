"""Dagster's rows: times, transactions, and when challenges were added."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from dagster._core.events import DagsterEventType
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from sqlalchemy import Connection

from loosh_pipeline.orchestrator import CHALLENGES

MATERIALIZED = DagsterEventType.ASSET_MATERIALIZATION.value
CHUNK = 500
"""How many values a query names at once."""


@contextmanager
def locked(connecting: Callable[[], Any], seconds: list[float] | None = None) -> Iterator[Connection]:
    """A transaction that holds the lock from its first moment on, so that what it reads stands until it ends.

    Dagster's own connections to Postgres commit each statement, and those to SQLite take the lock with the first
    write. `seconds` is told for how long the lock was held, without the wait for it.
    """
    with connecting() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "BEGIN")
        began_s = time.monotonic()
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
        if seconds is not None:
            seconds.append(time.monotonic() - began_s)


def added_at(connection: Connection, keys: Sequence[str], to_change: bool = False) -> dict[str, datetime]:
    """When some challenges were added, those that are shown. `to_change`: nobody else changes them until the end."""
    table = DynamicPartitionsTable
    query = sa.select(table.c.partition, table.c.create_timestamp).where(
        table.c.partitions_def_name == CHALLENGES, table.c.partition.in_(keys)
    )
    rows = connection.execute(query.with_for_update() if to_change else query)
    return {str(key): utc(added) for key, added in rows}


def chunks(values: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def utc(at: datetime) -> datetime:
    """Dagster's columns hold naive times of UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def naive(at: datetime) -> datetime:
    """As Dagster's columns hold it."""
    return at.astimezone(UTC).replace(tzinfo=None)

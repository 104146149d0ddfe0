"""Dagster's history as rows: reading what is old, and deleting many runs in one short transaction.

`DagsterInstance.delete_run` deletes the same, one run at a time: tens of milliseconds each on SQLite, and Dagster has
no way to delete a backfill or what was reported without a run. Tables and columns are those of `SqlEventLogStorage` and
`SqlRunStorage`, which files and Postgres share.

Events go before the record of their run, and runs before the partition: what a killed process leaves is found again by
its record. A run without events, and a partition without runs, are nothing that breaks a page or a launch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events import DagsterEventType
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    ConcurrencySlotsTable,
    DynamicPartitionsTable,
    PendingStepsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import Connection

from loosh_pipeline.errors import StoreError
from loosh_pipeline.orchestrator import CHALLENGES, PARTITION_TAG
from loosh_pipeline.retention.ages import ENDED, RANGE_TAG, SeenPartition, SeenRun, Untouchable
from loosh_pipeline.retention.run_files import delete_run_files
from loosh_pipeline.workers.config import QUEUE_TAG

UNDER_WAY = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
MATERIALIZED = DagsterEventType.ASSET_MATERIALIZATION.value
OBSERVED = DagsterEventType.ASSET_OBSERVATION.value
TAGS_READ = (PARTITION_TAG, QUEUE_TAG, RANGE_TAG)
CHUNK = 500
"""How many values a query names at once."""


class History:
    """What one Dagster instance has recorded. Every method is one short transaction, or a few."""

    def __init__(self, instance: DagsterInstance) -> None:
        events, runs = instance.event_log_storage, instance.run_storage
        if not isinstance(events, SqlEventLogStorage) or not isinstance(runs, SqlRunStorage):
            raise StoreError(
                f"the history of runs lies in a {type(events).__name__}, whose tables are not known; prune it yourself"
            )
        self._instance, self._events, self._runs = instance, events, runs

    # What there is

    def partitions(self) -> list[SeenPartition]:
        """Challenges that Dagster shows, in the order in which they were added, counted from 0."""
        table = DynamicPartitionsTable
        query = sa.select(table.c.partition, table.c.create_timestamp).where(table.c.partitions_def_name == CHALLENGES)
        with self._events.index_connection() as connection:
            rows = connection.execute(query.order_by(table.c.id)).all()
        return [SeenPartition(number, str(key), _utc(added)) for number, (key, added) in enumerate(rows)]

    def runs_of(self, partitions: Sequence[str]) -> list[SeenRun]:
        """Runs of one partition each, of any job, whatever became of them."""
        tagged = sa.select(RunTagsTable.c.run_id).where(
            RunTagsTable.c.key == PARTITION_TAG, RunTagsTable.c.value.in_(partitions)
        )
        return self._seen(RunsTable.c.run_id.in_(tagged))

    def old_runs(self, before: datetime, after: int) -> list[SeenRun]:
        """The next runs, by their number, that are over and have not moved since then; at most CHUNK."""
        moved = RunsTable.c.update_timestamp < _naive(before)
        return self._seen(RunsTable.c.status.in_(ENDED), moved, RunsTable.c.id > after, limit=CHUNK)

    def _seen(self, *conditions: Any, limit: int | None = None) -> list[SeenRun]:
        names = ("id", "run_id", "pipeline_name", "status", "update_timestamp", "backfill_id")
        query = sa.select(*(RunsTable.c[name] for name in names)).where(*conditions).order_by(RunsTable.c.id)
        with self._runs.connect() as connection:
            rows = connection.execute(query.limit(limit)).all()
            tags = _tags(connection, [row.run_id for row in rows])
        return [_seen_run(row, tags.get(row.run_id, {})) for row in rows]

    def known(self, run_ids: Sequence[str]) -> set[str]:
        """Those of the runs of which there is a record."""
        query = sa.select(RunsTable.c.run_id).where(RunsTable.c.run_id.in_(run_ids))
        with self._runs.connect() as connection:
            return set(connection.execute(query).scalars())

    def count_runs(self) -> int:
        return self._instance.get_runs_count()

    def untouchable(self) -> Untouchable:
        """What stays: the newest materialization and check of every asset, and whatever a backfill works on."""
        backfills = self._instance.get_backfills(BulkActionsFilter(statuses=UNDER_WAY))
        with partition_loading_context(dynamic_partitions_store=self._instance):
            targets = [_targets(each) for each in backfills]
        return Untouchable(
            runs=self._spoken_of(),
            backfills={each.backfill_id for each in backfills},
            partitions={key for target in targets for key in target or ()},
            all_partitions=None in targets,
        )

    def _spoken_of(self) -> set[str]:
        """Runs that the pages of assets and checks name as the newest, with a result or without."""
        events, checks = SqlEventLogStorageTable, AssetCheckExecutionsTable
        newest = (
            sa.select(sa.func.max(events.c.id))
            .where(events.c.asset_key == AssetKeyTable.c.asset_key, events.c.dagster_event_type == MATERIALIZED)
            .scalar_subquery()
        )
        of_check = sa.select(sa.func.max(checks.c.id)).group_by(checks.c.asset_key, checks.c.check_name)
        evaluated = of_check.where(checks.c.evaluation_event_storage_id.is_not(None))
        queries = (
            sa.select(AssetKeyTable.c.last_run_id),
            sa.select(events.c.run_id).where(events.c.id.in_(sa.select(newest).select_from(AssetKeyTable))),
            sa.select(checks.c.run_id).where(checks.c.id.in_(of_check)),
            sa.select(checks.c.run_id).where(checks.c.id.in_(evaluated)),
        )
        with self._events.index_connection() as connection:
            return {run_id for query in queries for run_id in connection.execute(query).scalars() if run_id}

    # What goes

    def delete_runs(self, run_ids: Sequence[str], partitions: Sequence[str] = ()) -> float:
        """Delete runs, and what was reported of partitions without one: events first, then records.

        Returns for how many seconds a lock was held at most.
        """
        locked_s = [self._delete_events(run_ids, partitions)]
        if isinstance(self._events, SqliteEventLogStorage):
            delete_run_files(self._events, run_ids)
            self._delete_in_file(self._events, partitions)
        with _timed(locked_s), self._runs.connect() as connection:
            connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id.in_(run_ids)))
            connection.execute(RunsTable.delete().where(RunsTable.c.run_id.in_(run_ids)))
        return max(locked_s)

    def _delete_events(self, run_ids: Sequence[str], partitions: Sequence[str]) -> float:
        """What they are is found out beforehand, and read, so that no disk is waited for while the lock is held."""
        for run_id in self._in_pools(run_ids):
            self._events.free_concurrency_slots_for_run(run_id)
        events, tags, checks = SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable
        whole = sa.select(events.c.id, sa.func.length(events.c.event))
        queries = [whole.where(events.c.run_id.in_(run_ids))]
        if partitions:
            queries.append(whole.where(self._reported(partitions)))
        with self._events.index_connection() as connection:
            found = [event for query in queries for event in connection.execute(query).scalars()]
            checked = connection.execute(sa.select(checks.c.id).where(checks.c.run_id.in_(run_ids))).scalars().all()
        locked_s: list[float] = []
        with _timed(locked_s), self._events.index_transaction() as connection:
            for ids in chunks(found):
                connection.execute(tags.delete().where(tags.c.event_id.in_(ids)))
                connection.execute(events.delete().where(events.c.id.in_(ids)))
            for ids in chunks(checked):
                connection.execute(checks.delete().where(checks.c.id.in_(ids)))
        return max(locked_s)

    def _in_pools(self, run_ids: Sequence[str]) -> list[str]:
        """Those of the runs that hold, or wait for, a place in a pool though they are over."""
        if not self._events.supports_global_concurrency_limits:
            return []
        with self._events.index_connection() as connection:
            return [
                run_id
                for table in (ConcurrencySlotsTable, PendingStepsTable)
                for run_id in connection.execute(
                    sa.select(table.c.run_id).where(table.c.run_id.in_(run_ids)).distinct()
                ).scalars()
            ]

    def _reported(self, partitions: Sequence[str]) -> sa.ColumnElement[bool]:
        """What was reported of partitions without a run. By asset too: there is no index of partitions alone."""
        events = SqlEventLogStorageTable
        with self._events.index_connection() as connection:
            assets = connection.execute(sa.select(AssetKeyTable.c.asset_key)).scalars().all()
        return sa.and_(
            events.c.asset_key.in_(assets),
            events.c.dagster_event_type == MATERIALIZED,
            events.c.partition.in_(partitions),
            events.c.run_id == RUNLESS_RUN_ID,
        )

    def _delete_in_file(self, storage: SqliteEventLogStorage, partitions: Sequence[str]) -> None:
        """The same in the file of what was reported without a run, which has one beside those of runs."""
        if partitions and os.path.exists(storage.path_for_shard(RUNLESS_RUN_ID)):
            reported = self._reported(partitions)
            with storage.run_connection(RUNLESS_RUN_ID) as connection:
                connection.execute(SqlEventLogStorageTable.delete().where(reported))

    def delete_partitions(self, keys: Sequence[str]) -> None:
        """Show challenges no longer."""
        table = DynamicPartitionsTable
        gone = table.delete().where(table.c.partitions_def_name == CHALLENGES, table.c.partition.in_(keys))
        with self._events.index_transaction() as connection:
            connection.execute(gone)

    def add_partitions(self, keys: Collection[str]) -> None:
        self._instance.add_dynamic_partitions(CHALLENGES, list(keys))

    def show(self, keys: Sequence[str]) -> None:
        """Show challenges as if they had just been added, those too that are shown already."""
        table = DynamicPartitionsTable
        there = table.c.partitions_def_name == CHALLENGES, table.c.partition.in_(keys)
        rows = [{"partitions_def_name": CHALLENGES, "partition": key} for key in keys]
        with self._events.index_transaction() as connection:
            connection.execute(table.delete().where(*there))
            if rows:
                connection.execute(table.insert(), rows)

    def materialized(self, assets: Sequence[str], partitions: Sequence[str]) -> set[tuple[str, str]]:
        """Assets and partitions of which Dagster knows a materialization."""
        events, names = SqlEventLogStorageTable, {AssetKey(asset).to_string(): asset for asset in assets}
        query = sa.select(events.c.asset_key, events.c.partition).where(
            events.c.asset_key.in_(names),
            events.c.dagster_event_type == MATERIALIZED,
            events.c.partition.in_(partitions),
        )
        with self._events.index_connection() as connection:
            return {(names[asset], str(key)) for asset, key in connection.execute(query.distinct())}

    def forget_statuses(self) -> None:
        """Let Dagster find out anew which partitions are materialized. It does so by itself once there are others than
        it remembers, but not where one was deleted and is there again.
        """
        remembered = AssetKeyTable.c.cached_status_data
        with self._events.index_transaction() as connection:
            connection.execute(AssetKeyTable.update().where(remembered.is_not(None)).values(cached_status_data=None))

    def delete_backfills(self, before: datetime) -> int:
        """Delete records of backfills that are over, began before then, and have no runs; returns how many."""
        actions, tags = BulkActionsTable, BackfillTagsTable
        runs = sa.select(RunsTable.c.id).where(RunsTable.c.backfill_id == actions.c.key)
        over = [status.value for status in BULK_ACTION_TERMINAL_STATUSES]
        query = sa.select(actions.c.key).where(
            actions.c.status.in_(over), actions.c.timestamp < _naive(before), ~runs.exists()
        )
        with self._runs.connect() as connection:
            keys = connection.execute(query.limit(CHUNK)).scalars().all()
        with self._runs.connect() as connection:
            connection.execute(tags.delete().where(tags.c.backfill_id.in_(keys)))
            connection.execute(actions.delete().where(actions.c.key.in_(keys)))
        return len(keys)


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    seconds.append(time.monotonic() - began_s)


def chunks(values: Sequence[Any], size: int = CHUNK) -> Iterator[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _tags(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    tags = RunTagsTable
    for ids in chunks(run_ids):
        query = sa.select(tags.c.run_id, tags.c.key, tags.c.value).where(
            tags.c.run_id.in_(ids), tags.c.key.in_(TAGS_READ)
        )
        for run_id, key, value in connection.execute(query):
            found.setdefault(run_id, {})[key] = value
    return found


def _seen_run(row: sa.Row[Any], tags: dict[str, str]) -> SeenRun:
    return SeenRun(
        number=int(row.id),
        run_id=str(row.run_id),
        job=str(row.pipeline_name),
        status=str(row.status),
        moved_at=_utc(row.update_timestamp),
        backfill=row.backfill_id,
        partition=tags.get(PARTITION_TAG),
        tags=tags,
    )


def _targets(backfill: Any) -> set[str] | None:
    """Partitions that a backfill is to make; None where it does not say which."""
    keys = set(backfill.partition_names or ())
    data = backfill.asset_backfill_data
    if data is None:
        return keys if backfill.partition_names is not None else None
    for subset in data.target_subset.partitions_subsets_by_asset_key.values():
        keys |= set(subset.get_partition_keys())
    return keys


def _utc(at: datetime) -> datetime:
    """Dagster's columns hold naive times of UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)

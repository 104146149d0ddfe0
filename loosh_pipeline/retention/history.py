"""Dagster's history as rows: reading what is old, and showing challenges.

Dagster has no way to ask when a partition was added, or to delete a backfill. Tables and columns are those of
`SqlEventLogStorage` and `SqlRunStorage`, which files and Postgres share; a test knows all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    DynamicPartitionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import Connection

from loosh_pipeline.errors import StoreError
from loosh_pipeline.orchestrator import CHALLENGES, PARTITION_TAG
from loosh_pipeline.retention.ages import ENDED, RANGE_END_TAG, RANGE_TAG, SeenPartition, SeenRun, Untouchable
from loosh_pipeline.retention.deleting import Deleter, runs_with_events
from loosh_pipeline.retention.pace import Pace
from loosh_pipeline.retention.rows import CHUNK, MATERIALIZED, added_at, chunks, locked, naive, utc
from loosh_pipeline.workers.config import QUEUE_TAG

UNDER_WAY = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
TAGS_READ = (PARTITION_TAG, QUEUE_TAG, RANGE_TAG, RANGE_END_TAG)


class History:
    """What one Dagster instance has recorded. Every method is one short transaction, or a few."""

    def __init__(self, instance: DagsterInstance) -> None:
        events, runs = instance.event_log_storage, instance.run_storage
        if not isinstance(events, SqlEventLogStorage) or not isinstance(runs, SqlRunStorage):
            raise StoreError(
                f"the history of runs lies in a {type(events).__name__}, whose tables are not known; prune it yourself"
            )
        self._instance, self._events, self._runs = instance, events, runs

    def deleter(self, pace: Pace) -> Deleter:
        return Deleter(self._events, self._runs, pace)

    def runs_without_record(self, quiet_since: datetime) -> Iterator[Sequence[str]]:
        """Runs that are deleted and have events that their processes wrote later, the newest before then."""
        events = SqlEventLogStorageTable
        for ids in runs_with_events(self._events):
            known = self.known(ids)
            lone = [run_id for run_id in ids if run_id not in known]
            newest = sa.select(events.c.run_id).where(events.c.run_id.in_(lone)).group_by(events.c.run_id)
            quiet = newest.having(sa.func.max(events.c.timestamp) < naive(quiet_since))
            with self._events.index_connection() as connection:
                yield connection.execute(quiet).scalars().all() if lone else ()

    # What there is

    def partitions(self) -> list[SeenPartition]:
        """Challenges that Dagster shows, in the order in which they were added, counted from 0."""
        table = DynamicPartitionsTable
        query = sa.select(table.c.partition, table.c.create_timestamp).where(table.c.partitions_def_name == CHALLENGES)
        with self._events.index_connection() as connection:
            rows = connection.execute(query.order_by(table.c.id)).all()
        return [SeenPartition(number, str(key), utc(added)) for number, (key, added) in enumerate(rows)]

    def runs_of(self, partitions: Sequence[str]) -> list[SeenRun]:
        """Runs of one partition each, of any job, whatever became of them."""
        tagged = sa.select(RunTagsTable.c.run_id).where(
            RunTagsTable.c.key == PARTITION_TAG, RunTagsTable.c.value.in_(partitions)
        )
        return self._seen(RunsTable.c.run_id.in_(tagged))

    def old_runs(self, before: datetime, after: int) -> list[SeenRun]:
        """The next runs, by their number, that are over and have not moved since then; at most CHUNK."""
        moved = RunsTable.c.update_timestamp < naive(before)
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
        """What stays: the newest materialization and check of every asset, and whatever is being worked on."""
        return replace(self.busy(), runs=self._spoken_of())

    def busy(self) -> Untouchable:
        """What backfills and runs of several partitions that are not over work on."""
        backfills = self._instance.get_backfills(BulkActionsFilter(statuses=UNDER_WAY))
        with partition_loading_context(dynamic_partitions_store=self._instance):
            targets = {each.backfill_id: _targets(each) for each in backfills}
        held = {key: f"backfill {name}" for name, keys in targets.items() for key in keys or ()}
        everything = next((f"backfill {name}" for name, keys in targets.items() if keys is None), None)
        return Untouchable((), frozenset(targets), self._in_ranges() | held, everything)

    def _in_ranges(self) -> dict[str, str]:
        """Partitions of runs of a range that are not over, whoever launched them, and by which run each is held."""
        tagged = sa.select(RunTagsTable.c.run_id).where(RunTagsTable.c.key == RANGE_TAG)
        runs = self._seen(RunsTable.c.status.not_in(ENDED), RunsTable.c.run_id.in_(tagged))
        if not runs:
            return {}
        keys = [each.key for each in self.partitions()]
        places = {key: place for place, key in enumerate(keys)}
        held: dict[str, str] = {}
        for run in runs:
            ends = [places[end] for tag in (RANGE_TAG, RANGE_END_TAG) if (end := run.tags.get(tag)) in places]
            if ends:  # those of days are in none of the places
                held |= dict.fromkeys(keys[min(ends) : max(ends) + 1], f"run {run.run_id}")
        return held

    def added(self, keys: Sequence[str]) -> dict[str, datetime]:
        """When some challenges were added, those that are shown."""
        with self._events.index_connection() as connection:
            return added_at(connection, keys)

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

    # What comes and goes

    def add_partitions(self, keys: Collection[str]) -> None:
        self._instance.add_dynamic_partitions(CHALLENGES, list(keys))

    def show(self, keys: Sequence[str], now: datetime) -> None:
        """Show challenges as if they had just been added. Those that are shown keep their place: ranges go by it."""
        table = DynamicPartitionsTable
        of_keys = table.c.partitions_def_name == CHALLENGES, table.c.partition.in_(keys)
        with locked(self._events.index_connection) as connection:
            there = set(connection.execute(sa.select(table.c.partition).where(*of_keys)).scalars())
            connection.execute(table.update().where(*of_keys).values(create_timestamp=naive(now)))
            new = [key for key in dict.fromkeys(keys) if key not in there]
            added = {"partitions_def_name": CHALLENGES, "create_timestamp": naive(now)}
            if new:
                connection.execute(table.insert(), [{**added, "partition": key} for key in new])

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
            actions.c.status.in_(over), actions.c.timestamp < naive(before), ~runs.exists()
        )
        with self._runs.connect() as connection:
            keys = connection.execute(query.limit(CHUNK)).scalars().all()
        with self._runs.connect() as connection:
            connection.execute(tags.delete().where(tags.c.backfill_id.in_(keys)))
            connection.execute(actions.delete().where(actions.c.key.in_(keys)))
        return len(keys)


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
        moved_at=utc(row.update_timestamp),
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

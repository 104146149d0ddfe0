"""Deleting runs, and challenges with theirs, in transactions that hold a lock no longer than anybody notices.

`DagsterInstance.delete_run` deletes the same, one run at a time: tens of milliseconds each on SQLite.

Events go before the record of their run, and runs before the partition: what a killed process leaves is found again by
its record. A run without events, and a partition without runs, are nothing that breaks a page or a launch. A challenge
that is added or restored meanwhile stays: each transaction looks whether it is still as old as it was.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
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
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.retention.pace import Pace
from loosh_pipeline.retention.rows import MATERIALIZED, added_at, chunks, locked
from loosh_pipeline.retention.run_files import delete_run_files

RECORDS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Leaving:
    """A challenge that is to go: when it was added, and its runs."""

    added_at: datetime
    run_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Event:
    """`key`: the challenge that it goes with; None of a run by itself. `check`: an execution of a check."""

    id: int
    key: str | None
    check: bool = False


@dataclass(frozen=True, slots=True)
class Deleter:
    """Deletes from one instance's storages, at a pace."""

    events: SqlEventLogStorage
    runs: SqlRunStorage
    pace: Pace

    def delete_runs(self, run_ids: Sequence[str]) -> None:
        """Delete runs of no challenge that is shown."""
        self._free(run_ids)
        self._delete_events(self._of_runs(dict.fromkeys(run_ids)), {})
        self._delete_records(run_ids)

    def delete_of_challenges(self, leaving: Mapping[str, Leaving]) -> set[str]:
        """Delete runs of challenges, and what was reported of them; returns those that are still as old as they were.

        Their partitions are to go last.
        """
        owners = {run_id: key for key, each in leaving.items() for run_id in each.run_ids}
        self._free(list(owners))
        found = [*self._of_runs(owners), *self._reported(list(leaving))]
        going = self._delete_events(found, {key: each.added_at for key, each in leaving.items()})
        if isinstance(self.events, SqliteEventLogStorage):
            self._delete_in_file(self.events, list(going))
        self._delete_records([run_id for run_id, key in owners.items() if key in going])
        return going

    def _of_runs(self, owners: Mapping[str, str | None]) -> list[_Event]:
        """What runs wrote into what runs share. It is read, so that no disk is waited for while the lock is held."""
        events, checks = SqlEventLogStorageTable, AssetCheckExecutionsTable
        found = []
        with self.events.index_connection() as connection:
            for ids in chunks(list(owners)):
                whole = sa.select(events.c.id, events.c.run_id, sa.func.length(events.c.event))
                rows = connection.execute(whole.where(events.c.run_id.in_(ids))).all()
                found += [_Event(row.id, owners[row.run_id]) for row in rows]
                executed = sa.select(checks.c.id, checks.c.run_id).where(checks.c.run_id.in_(ids))
                found += [_Event(row.id, owners[row.run_id], check=True) for row in connection.execute(executed)]
        return found

    def _reported(self, keys: Sequence[str]) -> list[_Event]:
        """What was reported of challenges without a run."""
        events = SqlEventLogStorageTable
        query = sa.select(events.c.id, events.c.partition, sa.func.length(events.c.event)).where(self._runless(keys))
        with self.events.index_connection() as connection:
            return [_Event(row.id, row.partition) for row in connection.execute(query)]

    def _runless(self, keys: Sequence[str]) -> sa.ColumnElement[bool]:
        """By asset too: there is no index of partitions alone."""
        events = SqlEventLogStorageTable
        with self.events.index_connection() as connection:
            assets = connection.execute(sa.select(AssetKeyTable.c.asset_key)).scalars().all()
        return sa.and_(
            events.c.asset_key.in_(assets),
            events.c.dagster_event_type == MATERIALIZED,
            events.c.partition.in_(keys),
            events.c.run_id == RUNLESS_RUN_ID,
        )

    def _delete_events(self, found: Sequence[_Event], added: Mapping[str, datetime]) -> set[str]:
        """Delete so many events at a time as the pace allows; returns those of the challenges that are as they were."""
        going, at = set(added), 0
        while at < len(found) or (at == 0 and added):
            part = found[at : at + self.pace.size]
            at += max(len(part), 1)
            held_s: list[float] = []
            with locked(self.events.index_connection, held_s) as connection:
                now = {
                    key: each for keys in chunks(list(added)) for key, each in added_at(connection, keys, True).items()
                }
                going = {key for key in going if now.get(key) == added[key]}
                _delete(connection, [each for each in part if each.key is None or each.key in going])
            self.pace.rest(held_s[0])
        return going

    def _delete_in_file(self, storage: SqliteEventLogStorage, keys: Sequence[str]) -> None:
        """What was reported without a run has a file beside those of runs."""
        if keys and os.path.exists(storage.path_for_shard(RUNLESS_RUN_ID)):
            reported = self._runless(keys)
            with storage.run_connection(RUNLESS_RUN_ID) as connection:
                connection.execute(SqlEventLogStorageTable.delete().where(reported))

    def _delete_records(self, run_ids: Sequence[str]) -> None:
        if isinstance(self.events, SqliteEventLogStorage):
            delete_run_files(self.events, run_ids)
        for ids in chunks(run_ids, RECORDS_AT_ONCE):
            held_s: list[float] = []
            with locked(self.runs.connect, held_s) as connection:
                connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id.in_(ids)))
                connection.execute(RunsTable.delete().where(RunsTable.c.run_id.in_(ids)))
            self.pace.rest(held_s[0])

    def delete_partitions(self, added: Mapping[str, datetime]) -> set[str]:
        """Show challenges no longer that are as old as they were; returns which those are."""
        table, held_s = DynamicPartitionsTable, list[float]()
        with locked(self.events.index_connection, held_s) as connection:
            now = added_at(connection, list(added), to_change=True)
            gone = {key for key, each in added.items() if now.get(key) == each}
            of_gone = table.c.partitions_def_name == CHALLENGES, table.c.partition.in_(gone)
            connection.execute(table.delete().where(*of_gone))
        self.pace.rest(held_s[0])
        return gone

    def _free(self, run_ids: Collection[str]) -> None:
        """Free what runs hold, or wait for, in a pool though they are over."""
        if not self.events.supports_global_concurrency_limits:
            return
        with self.events.index_connection() as connection:
            found = {
                run_id
                for table in (ConcurrencySlotsTable, PendingStepsTable)
                for ids in chunks(list(run_ids))
                for run_id in connection.execute(sa.select(table.c.run_id).where(table.c.run_id.in_(ids))).scalars()
            }
        for run_id in found:
            self.events.free_concurrency_slots_for_run(run_id)


def _delete(connection: sa.Connection, found: Sequence[_Event]) -> None:
    events, tags, checks = SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable
    for ids in chunks([each.id for each in found if not each.check]):
        connection.execute(tags.delete().where(tags.c.event_id.in_(ids)))
        connection.execute(events.delete().where(events.c.id.in_(ids)))
    for ids in chunks([each.id for each in found if each.check]):
        connection.execute(checks.delete().where(checks.c.id.in_(ids)))


def runs_with_events(events: SqlEventLogStorage) -> Iterator[Sequence[str]]:
    """All runs of which what runs share has events, some at a time: by its index, one look a run."""
    table, after = SqlEventLogStorageTable, RUNLESS_RUN_ID
    while True:
        first = sa.select(sa.func.min(table.c.run_id).label("run_id")).where(table.c.run_id > after)
        found = first.cte("found", recursive=True)
        following = sa.select(sa.func.min(table.c.run_id)).where(table.c.run_id > found.c.run_id).scalar_subquery()
        found = found.union_all(sa.select(following).where(found.c.run_id.is_not(None)))
        query = sa.select(found.c.run_id).where(found.c.run_id.is_not(None)).limit(500)
        with events.index_connection() as connection:
            ids = [str(each) for each in connection.execute(query).scalars()]
        if not ids:
            return
        yield ids
        after = ids[-1]

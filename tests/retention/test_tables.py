"""Every table of Dagster that names runs, backfills or partitions is one that pruning was thought through for."""

from __future__ import annotations

from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata

NAMES = ("run", "backfill", "partition")
PRUNED = {
    "runs": {"run_id", "run_body", "partition", "partition_set", "backfill_id"},
    "run_tags": {"run_id"},
    "bulk_actions": set[str](),
    "backfill_tags": {"backfill_id"},
    "event_logs": {"run_id", "partition"},
    "asset_event_tags": set[str](),
    "asset_check_executions": {"run_id", "partition"},
    "dynamic_partitions": {"partitions_def_name", "partition"},
    "concurrency_slots": {"run_id"},
    "pending_steps": {"run_id"},
}
OTHERWISE = {
    "asset_keys": {"last_run_id"},  # that run stays
    "instance_info": {"run_storage_id"},  # of the storage itself
}


def test_no_table_of_dagster_names_a_run_that_pruning_does_not_know() -> None:
    known = {name: columns for name, columns in (PRUNED | OTHERWISE).items() if columns}
    found = {
        table.name: columns
        for metadata in (SqlEventLogStorageMetadata, RunStorageSqlMetadata, ScheduleStorageSqlMetadata)
        for table in metadata.sorted_tables
        if (columns := {column.name for column in table.columns if any(name in column.name for name in NAMES)})
    }
    assert found == known

"""Which partitions were planned and not made: as the stock storage says, from the index alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from loosh_pipeline.workers.storage import WarmEventLogStorage, unfinished

NUMBERS = dg.DynamicPartitionsDefinition(name="numbers")
MADE = dg.AssetKey("made")


@dg.asset(name="made", partitions_def=NUMBERS)
def made(context: dg.AssetExecutionContext) -> None:
    if context.partition_key.startswith("bad"):
        raise ValueError("bad")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    storage = {"module": "loosh_pipeline.workers.storage", "class": "WarmSqliteStorage"}
    custom = {**storage, "config": {"base_dir": str(tmp_path)}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"storage": {"custom": custom}}) as instance:
        yield instance


def make(instance: dg.DagsterInstance, *keys: str) -> None:
    instance.add_dynamic_partitions("numbers", list(dict.fromkeys(keys)))
    for key in keys:
        dg.materialize([made], partition_key=key, instance=instance, raise_on_error=False)


def both(instance: dg.DagsterInstance, after: int | None = None) -> tuple[Mapping[str, object], Mapping[str, object]]:
    storage = instance.event_log_storage
    assert isinstance(storage, WarmEventLogStorage)
    stock = SqliteEventLogStorage.get_latest_asset_partition_materialization_attempts_without_materializations
    ours = storage.get_latest_asset_partition_materialization_attempts_without_materializations(MADE, after)
    return ours, stock(storage, MADE, after)


def test_it_finds_what_the_stock_storage_finds(instance: dg.DagsterInstance) -> None:
    assert both(instance) == ({}, {})
    make(instance, "1", "bad-1", "2", "bad-2", "1", "bad-1")
    ours, stock = both(instance)
    assert ours == stock
    assert ours.keys() == {"bad-1", "bad-2"}
    last = max(number for _, number in stock.values())  # type: ignore[misc]  # run and event
    assert both(instance, last - 1) == ({"bad-1": stock["bad-1"]}, {"bad-1": stock["bad-1"]})
    instance.wipe_assets([MADE])
    ours, stock = both(instance)
    assert ours == stock


def test_events_are_read_of_nothing_that_was_made(instance: dg.DagsterInstance) -> None:
    make(instance, "bad-1", "1")
    query = unfinished(MADE, 0).compile(compile_kwargs={"literal_binds": True})
    storage = instance.event_log_storage
    assert isinstance(storage, WarmEventLogStorage)
    with storage.index_connection() as connection:
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    of_events = [each for each in plan if "event_logs" in each]
    assert len(of_events) == 3
    assert all("COVERING INDEX" in each or "INTEGER PRIMARY KEY" in each for each in of_events), plan

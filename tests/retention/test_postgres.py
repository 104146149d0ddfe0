"""The same where Dagster keeps its history in Postgres: one database, no files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from sqlalchemy import create_engine, text

from loosh_pipeline.retention.history import History
from loosh_pipeline.retention.pace import Pace
from loosh_pipeline.retention.restoring import Restorer
from loosh_pipeline.settings import get_settings
from loosh_pipeline.workers.postgres import warm_engine
from tests.retention.conftest import evaluated, pruned, shown
from tests.store.conftest import postgres_server
from tests.world import World

__all__ = ["postgres_server"]
CHECKS = "asset_check_executions"


@pytest.fixture
def database(postgres_server: str) -> str:
    """An empty one, which Dagster fills."""
    engine = create_engine(postgres_server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres_server


@pytest.fixture
def instance(tmp_path: Path, database: str) -> Iterator[dg.DagsterInstance]:
    content = {"telemetry": {"enabled": False}, "storage": {"postgres": {"postgres_url": database}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(content))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def rows_of(url: str) -> dict[str, list[Any]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"))
        found = {
            name: [tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}" ORDER BY 1'))]
            for name in names.scalars().all()
        }
    engine.dispose()
    return found


def test_both_ways_of_deleting_leave_the_same(world: World, instance: dg.DagsterInstance, database: str) -> None:
    (ours, stock) = evaluated(world, "c-1", "c-2")
    before = rows_of(database)
    History(instance).deleter(Pace(math.inf)).delete_runs([ours])
    instance.delete_run(stock)
    after = rows_of(database)
    assert after[CHECKS] == before[CHECKS]
    for name, rows in before.items():
        of_ours, of_stock = (
            [row for row in rows if run in map(str, row) and row not in after[name]] for run in (ours, stock)
        )
        assert len(of_ours) == len(of_stock), name
        assert not [row for row in after[name] if ours in map(str, row) or stock in map(str, row)], name
    assert sum(map(len, before.values())) - sum(map(len, after.values())) > 60


def test_a_challenge_goes_and_is_shown_again(world: World, instance: dg.DagsterInstance, database: str) -> None:
    gone = evaluated(world, "c-1", "c-2")
    done = pruned(world, 15)
    assert (done.challenges, done.runs, done.finished) == (2, 2, True)
    assert shown(world) == {"newest"}
    for name, rows in rows_of(database).items():
        assert not [row for row in rows if set(map(str, row)) & {"c-1", "c-2", *gone}], name
    restored = Restorer(instance, world.store.inbox, get_settings()).restore(["c-1"])
    assert (restored.challenges, restored.materializations, shown(world)) == (1, 6, {"c-1", "newest"})
    assert "c-1" in instance.get_materialized_partitions(dg.AssetKey("consensus_scores"))
    assert pruned(world, 15).challenges == 1
    for name, rows in rows_of(database).items():
        assert not [row for row in rows if "c-1" in map(str, row)], name


def test_times_without_a_zone_are_those_of_utc_wherever_the_server_is(database: str) -> None:
    engine = create_engine(database)
    with engine.connect() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET timezone TO 'Asia/Tokyo'"))
    warm = warm_engine(database)
    try:
        with warm.connect() as connection:
            assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
    finally:
        with engine.begin() as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" RESET timezone'))
        warm.dispose()
        engine.dispose()

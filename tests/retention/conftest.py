from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.retention.ages import Ages
from loosh_pipeline.retention.pruning import Pruned, Pruner
from loosh_pipeline.settings import get_settings
from tests.world import World

AGES = Ages(timedelta(days=14), timedelta(days=2), timedelta(days=90), 1000)
Rows = dict[str, list[tuple[Any, ...]]]


def opened(home: Path, warm: bool = True) -> dg.DagsterInstance:
    """The instance in a directory, through the storage of `loosh up` or through Dagster's own."""
    home.mkdir(parents=True, exist_ok=True)
    own = {"module": "loosh_pipeline.workers.storage", "class": "WarmSqliteStorage", "config": {"base_dir": str(home)}}
    content = {"telemetry": {"enabled": False}} | ({"storage": {"custom": own}} if warm else {})
    (home / "dagster.yaml").write_text(yaml.safe_dump(content))
    return dg.DagsterInstance.from_config(str(home))


def rows_of(home: Path) -> Rows:
    """Every row of every table of Dagster's databases that runs share."""
    found: Rows = {}
    for path in (home / "history" / "runs.db", home / "history" / "runs" / "index.db"):
        with closing(sqlite3.connect(path)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                found[f"{path.name}: {name}"] = connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
    return found


def run_files(home: Path) -> set[str]:
    """Runs that have a file."""
    return {path.name.partition(".")[0] for path in (home / "history" / "runs").glob("*-*.db*")}


@pytest.fixture
def dagster_home(own_home: Path) -> Path:
    """Where `loosh up` has its instance."""
    return get_settings().home / "dagster_home"


@pytest.fixture
def instance(dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    with opened(dagster_home) as instance:
        yield instance


def shown(world: World) -> set[str]:
    """Challenges that Dagster shows."""
    return set(world.instance.get_dynamic_partitions(CHALLENGES))


def pruned(world: World, days: float, ages: Ages = AGES, budget_s: float = 60.0) -> Pruned:
    """A slice, so many days from now."""
    pruner = Pruner(world.instance, world.store.inbox, get_settings().heatmaps_root, ages)
    return pruner.slice(datetime.now(UTC) + timedelta(days=days), budget_s)


def evaluated(world: World, *ids: str) -> list[str]:
    """Ids of the runs that evaluated so many challenges; the one after them, `newest`, is what pages speak of."""
    if world.store.newest_metagraph() is None:
        world.refresh_metagraph()
    return [world.evaluate(world.accept(each)).run_id for each in (*ids, "newest")][:-1]


@pytest.fixture
def world(own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("WEIGHTS_MIN_EVIDENCE_ROUNDS", "1")
    return World(instance)

"""Deleting many runs at once leaves exactly what Dagster leaves when it deletes them one by one."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import dagster as dg
import pytest

from loosh_pipeline.retention.history import History
from loosh_pipeline.retention.pace import Pace
from tests.retention.conftest import Rows, opened, rows_of, run_files
from tests.world import World

CHECKS = "index.db: asset_check_executions"


def without_run(rows: Rows, run_ids: list[str]) -> Rows:
    """The same without executions of checks by those runs, which Dagster leaves."""
    return rows | {CHECKS: [row for row in rows[CHECKS] if not set(row) & set(run_ids)]}


@pytest.mark.parametrize("warm", [True, False])
def test_all_tables_are_as_dagster_itself_leaves_them(
    world: World, instance: dg.DagsterInstance, dagster_home: Path, tmp_path: Path, warm: bool
) -> None:
    world.refresh_metagraph()
    going = [world.evaluate(world.accept(f"c-{number}")).run_id for number in range(4)]
    going.append(world.refresh_metagraph().run_id)
    world.evaluate(world.accept("kept"))
    world.set_weights()
    going.append(world.set_weights().run_id)
    instance.dispose()
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    for copy in (ours, stock):
        shutil.copytree(dagster_home, copy)
    with opened(stock, warm=False) as copied:
        for run_id in going:
            copied.delete_run(run_id)
    with opened(ours, warm) as copied:
        History(copied).deleter(Pace(math.inf)).delete_runs(going)
        left = {run.run_id for run in copied.get_runs()}
    before = rows_of(stock)
    assert len(before[CHECKS]) > len(without_run(before, going)[CHECKS])
    assert rows_of(ours) == without_run(before, going)
    assert run_files(ours) == left

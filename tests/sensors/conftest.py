from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from loosh_pipeline.settings import get_settings
from tests.world import World


@pytest.fixture(scope="module")
def instance_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = str(tmp_path_factory.mktemp("dagster"))
    with dg.DagsterInstance.local_temp(home, overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture
def instance(request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    """One without runs: in memory, but for schedules, which reach their instance by reference only."""
    if not request.module.__name__.endswith("_schedule"):
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
        return
    on_disk: dg.DagsterInstance = request.getfixturevalue("instance_on_disk")
    for run in on_disk.get_runs():
        on_disk.delete_run(run.run_id)
    yield on_disk


@pytest.fixture
def world(own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> World:
    """Where one round is enough for weights."""
    monkeypatch.setenv("WEIGHTS_MIN_EVIDENCE_ROUNDS", "1")
    monkeypatch.setenv("WEIGHTS_MIN_ROUNDS", "1")
    get_settings.cache_clear()
    return World(instance)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.audit.otherwise.epoch import SILENT, newest, small, validator
from tests.homes import Kept, living_in
from tests.world import World


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Weights were set once."""
    with (
        living_in(tmp_path_factory.mktemp("weighed") / "loosh") as patch,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        world = validator(instance, patch)
        assert world.set_weights().success
        assert newest(world).weights
        return Kept.of(world, SILENT)


@pytest.fixture
def world(weighed: Kept, own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> World:
    """One of whom weights were set once, for this test alone."""
    small(monkeypatch)
    return weighed.again(instance)

"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store import database
from tests.databases import migrate_by_copy

# Processes that share the tests are given the width of nobody's terminal: what tests ask for would not count beside it.
for _of_a_terminal in ("COLUMNS", "LINES"):
    os.environ.pop(_of_a_terminal, None)

# How long an example takes says how busy the machine is. What is to be fast has a test that counts steps.
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("busy")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.side_by_side import ByFile

    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays until the end: no collector need look through a million objects again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.fixture(autouse=True)
def migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """New databases are copies of one. Modules about migrations have a fixture of this name that does nothing."""
    monkeypatch.setattr(database, "_migrate", migrate_by_copy)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test has a data directory of its own and sees no `.env` and no settings of the machine."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    home = tmp_path / "loosh"
    monkeypatch.setenv("LOOSH_HOME", str(home))
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    get_settings.cache_clear()
    yield home
    get_settings.cache_clear()


@pytest.fixture
def settings() -> Settings:
    return get_settings()

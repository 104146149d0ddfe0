"""Data directories that are made once and copied, for tests of what a validator leaves behind."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from loosh_pipeline.domain import Outcome
from loosh_pipeline.settings import Settings, get_settings
from tests.world import World


@contextmanager
def living_in(home: Path, **environment: str) -> Iterator[pytest.MonkeyPatch]:
    """With this data directory and these settings, and no others; for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        for name, value in {"LOOSH_HOME": str(home), **environment}.items():
            patch.setenv(name, value)
        patch.setitem(Settings.model_config, "env_file", None)
        get_settings.cache_clear()
        yield patch
    get_settings.cache_clear()


@dataclass(frozen=True)
class Kept:
    """How a world stood when it was left. Runs that Dagster knows of are not kept."""

    home: Path
    answers: Mapping[str, str | Outcome]
    parts: Mapping[str, Any]

    @classmethod
    def of(cls, world: World, answers: Mapping[str, str | Outcome]) -> Kept:
        """Closes its store."""
        world.store.close()
        return cls(world.settings.home, answers, {name: getattr(world, name) for name in ("chain", "miners", "api")})

    def again(self, instance: dg.DagsterInstance) -> World:
        """Another that stands so, in this test's own directory."""
        shutil.copytree(self.home, get_settings().home, dirs_exist_ok=True)
        world = World(instance, self.answers)
        for name, part in self.parts.items():
            setattr(world, name, copy.deepcopy(part))
        return world

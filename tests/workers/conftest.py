"""The Dagster instance of a validator, as `loosh up` writes it, with nobody running on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository

from loosh_pipeline.services import write_instance
from loosh_pipeline.settings import Settings

NewRun = Callable[..., dg.DagsterRun]


@pytest.fixture
def instance(settings: Settings, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    home = own_home / "dagster_home"
    write_instance(home, settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def new_run(instance: dg.DagsterInstance) -> NewRun:
    """Creates a run of a job of `tests.workers.jobs`, with tags."""

    def create(job: str, **tags: str) -> dg.DagsterRun:
        code = ReconstructableRepository.for_module("tests.workers.jobs", "defs").get_reconstructable_job(job)
        return instance.create_run_for_job(
            code.get_definition(), tags={name.replace("__", "/"): value for name, value in tags.items()}
        )._replace(job_code_origin=code.get_python_origin())

    return create

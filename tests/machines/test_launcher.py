"""Dagster on one machine, workers on others: whether a run lives is what its machine says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster_postgres import PostgresRunStorage
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from loosh_pipeline.orchestrator import CODE_LOCATION, REPOSITORY, SCORE_JOB
from loosh_pipeline.services import environment, write_instance
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.hosts import HEARD_WITHIN_S, Hosts
from loosh_pipeline.workers.app import _close
from loosh_pipeline.workers.config import EVALUATIONS, folder, marks
from loosh_pipeline.workers.launcher import WorkerRunLauncher
from loosh_pipeline.workers.postgres import WarmPostgresEventLogStorage
from tests.machines.conftest import executing, silence, speaker
from tests.postgres import new_database
from tests.workers.conftest import NewRun
from tests.workers.launched import execute, stored

STARTING, STARTED = dg.DagsterEventType.PIPELINE_STARTING, dg.DagsterEventType.PIPELINE_START


@pytest.fixture
def settings(own_home: Path, database_url: str, postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(
        database_url=database_url,
        dagster_database_url=new_database(postgres_server, "dagster"),
        celery_broker_url="redis://127.0.0.1:1/0",
        max_concurrent_runs=2,
    )
    home = own_home / "dagster_home"
    write_instance(home, settings)
    for name, value in environment(settings, home).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    return settings


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance
    _close()
    get_settings.cache_clear()


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WorkerRunLauncher:
    assert isinstance(instance.run_launcher, WorkerRunLauncher)
    return instance.run_launcher


def started(instance: dg.DagsterInstance, run: dg.DagsterRun, *events: dg.DagsterEventType) -> dg.DagsterRun:
    """A launched run, to which things have happened."""
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), REPOSITORY)
    return stored(instance, run._replace(remote_job_origin=location.get_job_origin(SCORE_JOB)), *events)


def test_a_run_is_as_alive_as_its_machine_says(
    instance: dg.DagsterInstance,
    launcher: WorkerRunLauncher,
    new_run: NewRun,
    hosts: Hosts,
    engine: Engine,
) -> None:
    run = started(instance, new_run(SCORE_JOB), STARTING, STARTED)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED, "nobody says that it executes it"
    executing(hosts, "a", run.run_id)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    silence(engine, "a", HEARD_WITHIN_S + 1)
    found = launcher.check_run_worker_health(run)
    assert (found.status, "a was not heard of for" in (found.msg or "")) == (WorkerStatus.FAILED, True)
    assert "executed on a" in (launcher.get_run_worker_debug_info(run) or "")


def test_ending_a_run_asks_its_machine(
    instance: dg.DagsterInstance,
    launcher: WorkerRunLauncher,
    new_run: NewRun,
    hosts: Hosts,
) -> None:
    run = started(instance, new_run(SCORE_JOB), STARTING, STARTED)
    assert not launcher.terminate(run.run_id), "no machine has it"
    executing(hosts, "a", run.run_id)
    assert launcher.terminate(run.run_id)
    assert hosts.beat(speaker("a"), 3, {run.run_id}).wanted == {run.run_id}
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELING


def test_a_worker_says_what_it_executes_and_leaves_no_mark_and_no_connection(
    instance: dg.DagsterInstance,
    settings: Settings,
    new_run: NewRun,
    hosts: Hosts,
) -> None:
    run = started(instance, new_run(SCORE_JOB), STARTING)
    assert execute(settings, run) == 0
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.SUCCESS
    assert hosts.holder(run.run_id) is None
    assert not list(marks(folder(settings), EVALUATIONS).iterdir())


def test_a_message_that_comes_again_elsewhere_is_executed_once(
    instance: dg.DagsterInstance,
    settings: Settings,
    new_run: NewRun,
    hosts: Hosts,
    engine: Engine,
) -> None:
    run = started(instance, new_run(SCORE_JOB), STARTING, STARTED)
    executing(hosts, "a", run.run_id)
    assert execute(settings, run) == 0
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.STARTED, "the machine that has it lives"
    silence(engine, "a", HEARD_WITHIN_S + 1)
    assert execute(settings, run) == 1
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE, "its challenge gets another run"


def test_the_storage_shares_few_connections_and_waits_without_any(instance: dg.DagsterInstance) -> None:
    events, runs = instance.event_log_storage, instance.run_storage
    assert isinstance(events, WarmPostgresEventLogStorage)
    assert isinstance(runs, PostgresRunStorage)
    assert events._engine is runs._engine
    assert isinstance(pool := events._engine.pool, QueuePool)
    instance.get_runs(limit=1)
    assert pool.checkedin() == 1
    events.release("any")
    assert isinstance(pool := events._engine.pool, QueuePool)
    assert pool.checkedin() == 0

"""A launched run is one message; whether it lives is asked of its process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from kombu import Connection
from kombu.exceptions import OperationalError

from loosh_pipeline.orchestrator import SCORE_JOB
from loosh_pipeline.services import write_instance
from loosh_pipeline.settings import FILES_BROKER, Settings
from loosh_pipeline.workers.app import worker_app
from loosh_pipeline.workers.config import RUNNING, folder
from loosh_pipeline.workers.holding import holding
from loosh_pipeline.workers.launcher import WorkerRunLauncher
from tests.workers.conftest import NewRun


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WorkerRunLauncher:
    launcher = instance.run_launcher
    assert isinstance(launcher, WorkerRunLauncher)
    return launcher


@pytest.fixture
def running(settings: Settings) -> Path:
    return folder(settings) / RUNNING


def health(launcher: WorkerRunLauncher, run: dg.DagsterRun) -> WorkerStatus:
    return launcher.check_run_worker_health(run).status


def launch(launcher: WorkerRunLauncher, run: dg.DagsterRun) -> None:
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))


def test_a_launched_run_is_a_message_that_a_worker_executes(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, settings: Settings
) -> None:
    run = new_run(SCORE_JOB)
    # What Dagster's own launching adds is the code's origin, which stands in the stored run.
    instance.run_storage.delete_run(run.run_id)
    instance.run_storage.add_run(run)
    launch(launcher, run)
    with Connection(FILES_BROKER, transport_options={"folder": str(folder(settings))}) as connection:
        message = connection.default_channel.basic_get("dagster")
        assert message is not None
        assert message.headers["id"] == run.run_id
        (args, kwargs, _), task = message.decode(), worker_app(settings).tasks[message.headers["task"]]
        assert task.apply(args, kwargs).get() == 0
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.SUCCESS
    assert not list((folder(settings) / RUNNING).iterdir())


def test_what_another_process_executes_is_not_executed_again(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, settings: Settings, running: Path
) -> None:
    run = new_run(SCORE_JOB)
    launch(launcher, run)
    with (
        holding(running, run.run_id),
        Connection(FILES_BROKER, transport_options={"folder": str(folder(settings))}) as connection,
    ):
        message = connection.default_channel.basic_get("dagster")
        args, kwargs, _ = message.decode()
        assert worker_app(settings).tasks[message.headers["task"]].apply(args, kwargs).get() == 0
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.NOT_STARTED


def test_a_run_without_code_cannot_be_launched(launcher: WorkerRunLauncher, new_run: NewRun) -> None:
    with pytest.raises(ValueError, match="launch it from a code location"):
        launch(launcher, new_run(SCORE_JOB)._replace(job_code_origin=None))


def test_a_server_that_is_away_is_told_soon(own_home: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(celery_broker_url="redis://127.0.0.1:1/0")
    write_instance(own_home / "elsewhere", settings)
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    with (
        dg.DagsterInstance.from_config(str(own_home / "elsewhere")) as instance,
        pytest.raises(OperationalError, match="refused"),
    ):
        launch(instance.run_launcher, new_run(SCORE_JOB))


def hold_and_hang(running: Path, run_id: str, begun: Any) -> None:
    with holding(running, run_id):
        begun.set()
        signal.pause()


def test_a_run_is_as_alive_as_its_process(launcher: WorkerRunLauncher, new_run: NewRun, running: Path) -> None:
    run = new_run(SCORE_JOB)
    assert health(launcher, run) is WorkerStatus.FAILED, "started, and nobody has it"
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    victim = context.Process(target=hold_and_hang, args=(running, run.run_id, begun))
    victim.start()
    assert begun.wait(60)
    assert health(launcher, run) is WorkerStatus.RUNNING
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(30)
    assert health(launcher, run) is WorkerStatus.FAILED
    assert launcher.get_run_worker_debug_info(run) == "process: dead"


def test_ending_a_run_interrupts_its_process(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, running: Path
) -> None:
    run = new_run(SCORE_JOB)
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    try:
        with holding(running, run.run_id):
            assert launcher.terminate(run.run_id)
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [signal.SIGINT]
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELING


def test_a_run_that_nobody_executes_cannot_be_interrupted(launcher: WorkerRunLauncher, new_run: NewRun) -> None:
    assert not launcher.terminate(new_run(SCORE_JOB).run_id)
    assert not launcher.terminate("00000000-0000-0000-0000-000000000000")


def test_nothing_is_resumed(launcher: WorkerRunLauncher) -> None:
    assert not launcher.supports_resume_run

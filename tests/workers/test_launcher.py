"""A launched run is one message; whether it lives is asked of its process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from celery.signals import worker_process_shutdown
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG
from kombu import Connection
from kombu.exceptions import OperationalError

from loosh_pipeline.orchestrator import CODE_LOCATION, REPOSITORY, SCORE_JOB
from loosh_pipeline.services import write_instance
from loosh_pipeline.settings import FILES_BROKER, Settings
from loosh_pipeline.workers.app import _close, worker_app
from loosh_pipeline.workers.app import _instance as worker_instance
from loosh_pipeline.workers.config import EVALUATIONS, QUEUE_TAG, UPKEEP, folder, marks
from loosh_pipeline.workers.holding import holding, mark
from loosh_pipeline.workers.launcher import WorkerRunLauncher
from loosh_pipeline.workers.storage import WarmEventLogStorage
from tests.workers.conftest import NewRun
from tests.workers.launched import execute, stored

STARTING, STARTED = dg.DagsterEventType.PIPELINE_STARTING, dg.DagsterEventType.PIPELINE_START


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> Iterator[None]:
    yield
    _close()


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WorkerRunLauncher:
    launcher = instance.run_launcher
    assert isinstance(launcher, WorkerRunLauncher)
    return launcher


@pytest.fixture
def running(settings: Settings) -> Path:
    return marks(folder(settings), EVALUATIONS)


def health(launcher: WorkerRunLauncher, run: dg.DagsterRun) -> WorkerStatus:
    return launcher.check_run_worker_health(run).status


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def said(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    return " ".join(event.message or event.user_message for event in instance.all_logs(run.run_id))


def launch(launcher: WorkerRunLauncher, run: dg.DagsterRun) -> None:
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))


def test_a_launched_run_is_a_message_that_a_worker_executes(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, settings: Settings, running: Path
) -> None:
    run = stored(instance, new_run(SCORE_JOB))
    launch(launcher, run)
    with Connection(FILES_BROKER, transport_options={"folder": str(folder(settings))}) as connection:
        message = connection.default_channel.basic_get("dagster")
        assert message is not None
        assert message.headers["id"] == run.run_id
        (args, kwargs, _), task = message.decode(), worker_app(settings).tasks[message.headers["task"]]
        assert message.delivery_info["routing_key"] == EVALUATIONS
        assert list(running.iterdir()) == [running / run.run_id], "marked from when it is handed over"
        assert task.apply(args, kwargs, routing_key=EVALUATIONS).get() == 0
    assert status(instance, run) is dg.DagsterRunStatus.SUCCESS
    assert not list(running.iterdir())


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
        task = worker_app(settings).tasks[message.headers["task"]]
        assert task.apply(args, kwargs, routing_key=EVALUATIONS).get() == 0
    assert status(instance, run) is dg.DagsterRunStatus.NOT_STARTED


def test_a_run_without_code_cannot_be_launched(launcher: WorkerRunLauncher, new_run: NewRun) -> None:
    with pytest.raises(ValueError, match="launch it from a code location"):
        launch(launcher, new_run(SCORE_JOB)._replace(job_code_origin=None))


def test_a_server_that_is_away_is_told_soon(own_home: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(celery_broker_url="redis://127.0.0.1:1/0")
    running = marks(folder(settings), EVALUATIONS)
    write_instance(own_home / "elsewhere", settings)
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    with (
        dg.DagsterInstance.from_config(str(own_home / "elsewhere")) as instance,
        pytest.raises(OperationalError, match="refused"),
    ):
        launch(instance.run_launcher, new_run(SCORE_JOB))
    assert not list(running.iterdir()), "a run that was not handed over is not marked"


def died(running: Path, run: dg.DagsterRun) -> None:
    """Leave the mark of a process that took a run and is gone."""
    running.mkdir(parents=True, exist_ok=True)
    (running / run.run_id).write_text("999999")


def hold_and_hang(running: Path, run_id: str, begun: Any) -> None:
    with holding(running, run_id):
        begun.set()
        signal.pause()


def test_a_run_that_was_launched_and_has_no_mark_is_dead(launcher: WorkerRunLauncher, new_run: NewRun) -> None:
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), REPOSITORY)
    launched = new_run(SCORE_JOB)._replace(remote_job_origin=location.get_job_origin(SCORE_JOB))
    assert health(launcher, launched) is WorkerStatus.FAILED, "its end was never written: the disk was full, say"


def test_a_run_is_as_alive_as_its_process(launcher: WorkerRunLauncher, new_run: NewRun, running: Path) -> None:
    run = new_run(SCORE_JOB)
    assert health(launcher, run) is WorkerStatus.RUNNING, "started in a terminal, say: left to its time limit"
    mark(running, run.run_id)
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
    assert status(instance, run) is dg.DagsterRunStatus.CANCELING


def test_a_run_that_waits_for_a_worker_is_canceled_at_once(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, settings: Settings, running: Path
) -> None:
    run = stored(instance, new_run(SCORE_JOB), STARTING)
    mark(running, run.run_id)
    assert launcher.terminate(run.run_id)
    assert status(instance, run) is dg.DagsterRunStatus.CANCELED
    assert execute(settings, run) == 0
    assert status(instance, run) is dg.DagsterRunStatus.CANCELED
    assert "canceled before execution could start" in said(instance, run)
    assert not list(running.iterdir())


def test_a_run_whose_process_died_is_canceled_at_once(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, running: Path
) -> None:
    run = stored(instance, new_run(SCORE_JOB), STARTING, STARTED)
    died(running, run)
    assert launcher.terminate(run.run_id)
    assert status(instance, run) is dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize("marked", [False, True], ids=["in a terminal", "on another machine"])
def test_what_is_executed_elsewhere_goes_on(
    instance: dg.DagsterInstance, launcher: WorkerRunLauncher, new_run: NewRun, running: Path, marked: bool
) -> None:
    run = stored(instance, new_run(SCORE_JOB), STARTING, STARTED)
    if marked:
        mark(running, run.run_id)
    assert not launcher.terminate(run.run_id)
    assert status(instance, run) is dg.DagsterRunStatus.STARTED
    assert "It cannot be ended from here" in said(instance, run)
    assert not launcher.terminate("00000000-0000-0000-0000-000000000000")


def test_a_run_in_whose_middle_a_process_died_fails_when_its_message_comes_again(
    instance: dg.DagsterInstance, new_run: NewRun, settings: Settings, running: Path
) -> None:
    run = stored(instance, new_run(SCORE_JOB), STARTING, STARTED)
    died(running, run)
    assert execute(settings, run) == 1
    assert status(instance, run) is dg.DagsterRunStatus.FAILURE
    assert "The process that executed this run died" in said(instance, run)
    assert not list(running.iterdir())


def test_one_that_had_not_begun_is_executed(
    instance: dg.DagsterInstance, new_run: NewRun, settings: Settings, running: Path
) -> None:
    run = stored(instance, new_run(SCORE_JOB), STARTING)
    died(running, run)
    assert execute(settings, run) == 0
    assert status(instance, run) is dg.DagsterRunStatus.SUCCESS


def test_runs_of_another_queue_are_marked_apart(
    launcher: WorkerRunLauncher, new_run: NewRun, settings: Settings
) -> None:
    assert QUEUE_TAG == DAGSTER_CELERY_QUEUE_TAG
    run = new_run(SCORE_JOB, **{QUEUE_TAG: UPKEEP})
    launch(launcher, run)
    assert (marks(folder(settings), UPKEEP) / run.run_id).exists()
    (message,) = (folder(settings) / "waiting").iterdir()
    assert message.name.endswith(f".{UPKEEP}.json")


def test_a_process_can_be_told_to_end_after_a_run(
    instance: dg.DagsterInstance, new_run: NewRun, settings: Settings
) -> None:
    """A child of Celery ignores SIGINT, and whatever it starts inherits what it ignores."""
    run = stored(instance, new_run(SCORE_JOB), STARTING)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        execute(settings, run)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_a_run_that_is_over_leaves_no_open_file(
    instance: dg.DagsterInstance, new_run: NewRun, settings: Settings
) -> None:
    run = stored(instance, new_run(SCORE_JOB), STARTING)
    execute(settings, run)
    events = worker_instance(os.getpid()).event_log_storage
    assert isinstance(events, WarmEventLogStorage)
    assert events.conn_string_for_shard(run.run_id) not in events._engines._engines
    assert events._engines._engines
    worker_process_shutdown.send(sender=None)
    assert not events._engines._engines, "nor does a process that is replaced"


def test_nothing_is_resumed(launcher: WorkerRunLauncher) -> None:
    assert not launcher.supports_resume_run

"""The worker's Celery application: one task, which executes a run."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import task_postrun, worker_process_shutdown
from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster._utils.interrupts import capture_interrupts
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.make_app import make_app
from sqlalchemy.exc import SQLAlchemyError

import loosh_pipeline.workers.transport  # noqa: F401  (registers it)
from loosh_pipeline.log_lines import process_is_about
from loosh_pipeline.orchestrator import PARTITION_TAG
from loosh_pipeline.run_tags import ATTEMPT_TAG
from loosh_pipeline.settings import NO_RESULTS, Settings
from loosh_pipeline.store.hosts import Hosts, StillHeld
from loosh_pipeline.workers.config import FOLDER_SETTING, configuration, marks
from loosh_pipeline.workers.heart import host_name, shared_hosts
from loosh_pipeline.workers.holding import Taken, holding, unmark
from loosh_pipeline.workers.postgres import WarmPostgresEventLogStorage
from loosh_pipeline.workers.storage import WarmEventLogStorage

logger = logging.getLogger(__name__)

GIVEN_BACK_AFTER_S = 3.0


def worker_app(settings: Settings) -> Celery:
    """The application of a worker: it knows the one task that there is, which executes a run and returns its status.

    Written here because dagster-celery's opens the instance anew for every run, which takes longer than our own part.
    """
    broker = settings.celery_broker_url.get_secret_value()
    app = make_app({"broker": broker, "backend": NO_RESULTS, "config_source": configuration(settings)})
    hosts, host = shared_hosts(settings), host_name(settings) if settings.spread else ""

    @app.task(bind=True, name=TASK_EXECUTE_JOB_NAME, shared=False)  # type: ignore[untyped-decorator]
    def execute_job(task: Task, execute_job_args_packed: Any) -> int:
        args, queue = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs), _queue_of(task)
        folder = marks(Path(task.app.conf[FOLDER_SETTING]), queue)
        with holding(folder, args.run_id) as here, _interruptible():
            taken = here
            if hosts is not None and here is not Taken.ANOTHERS:
                with _or_again(folder, args.run_id, here):
                    taken = among_all(hosts, host, queue, args.run_id, here)
            if taken is Taken.ANOTHERS:
                return 0
            status = _execute(args.run_id, taken)
            if hosts is not None:
                _let_go(hosts, args.run_id, host)
            return status

    return app


def _queue_of(task: Task) -> str:
    return str(task.request.delivery_info["routing_key"])


def among_all(hosts: Hosts, host: str, queue: str, run_id: str, here: Taken) -> Taken:
    """Take a run, which this process holds on this machine, among all machines."""
    try:
        before = hosts.take(run_id, host, queue)
    except StillHeld as held:
        logger.info("%s; its message came again", held)
        return Taken.ANOTHERS
    return here if before is None else Taken.OURS_AFTER_DEATH


@contextmanager
def _or_again(folder: Path, run_id: str, here: Taken) -> Iterator[None]:
    """Give a message back that came while the database did not answer: nobody knows yet who executes its run.

    Some seconds later, so that a machine that is cut off hardly touches the queue until its workers end.
    """
    try:
        yield
    except SQLAlchemyError as error:
        logger.warning("run %s could not be taken, and its message is given back: %s", run_id, error)
        time.sleep(GIVEN_BACK_AFTER_S)
        if here is Taken.OURS:
            unmark(folder, run_id)
        raise Reject("the database does not answer", requeue=True) from error


def _let_go(hosts: Hosts, run_id: str, host: str) -> None:
    """A run is over; where that cannot be said now, the next beat does."""
    try:
        hosts.release(run_id, host)
    except SQLAlchemyError as error:
        logger.warning("the other machines could not be told that run %s is over: %s", run_id, error)


def _execute(run_id: str, taken: Taken) -> int:
    """Execute a run that this process holds; 0 when it ended well, and when there was nothing to do."""
    instance = _instance(os.getpid())
    try:
        if taken is Taken.OURS_AFTER_DEATH and _was_left(instance, run_id):
            return 1
        _say_what_follows(instance, run_id)
        return _execute_run_command_body(
            run_id, instance, write_stream_fn=lambda _: None, set_exit_code_on_failure=True
        )
    finally:
        if isinstance(events := instance.event_log_storage, WarmEventLogStorage | WarmPostgresEventLogStorage):
            events.release(run_id)


def _say_what_follows(instance: DagsterInstance, run_id: str) -> None:
    """From here on lines of this process name the run, its challenge and its attempt."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return
    process_is_about(run_id=run_id, challenge_id=run.tags.get(PARTITION_TAG), attempt=run.tags.get(ATTEMPT_TAG))
    logger.info("%s begins", run.job_name)


@task_postrun.connect  # type: ignore[untyped-decorator]
def _said_all(**_: Any) -> None:
    """After Celery's own last words on a run."""
    process_is_about()


def _was_left(instance: DagsterInstance, run_id: str) -> bool:
    """Whether a process died in the middle of a run, which then fails; its challenge gets another."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status is not DagsterRunStatus.STARTED:
        return False
    instance.report_run_failed(run, "The process that executed this run died; the run is not executed again.")
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Dagster hear of interrupts. It gives SIGTERM back as what SIGINT was, which Celery's processes ignore."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with capture_interrupts():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@lru_cache(maxsize=1)
def _instance(_pid: int) -> DagsterInstance:
    """The instance of this process, which is never one that it was forked with."""
    return DagsterInstance.get()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _close(**_: Any) -> None:
    """A process that is replaced closes what it has open."""
    if _instance.cache_info().currsize:
        _instance(os.getpid()).dispose()
        _instance.cache_clear()

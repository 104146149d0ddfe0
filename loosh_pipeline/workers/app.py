"""The worker's Celery application: one task, which executes a run."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from celery import Celery, Task
from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster._utils.interrupts import capture_interrupts
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.make_app import make_app

import loosh_pipeline.workers.transport  # noqa: F401  (registers it)
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import FOLDER_SETTING, RUNNING, configuration
from loosh_pipeline.workers.holding import holding


def worker_app(settings: Settings) -> Celery:
    """The application of a worker: it knows the one task that there is, which executes a run and returns its status.

    Written here because dagster-celery's opens the instance anew for every run, which takes longer than our own part.
    """
    urls = {
        "broker": settings.celery_broker_url.get_secret_value(),
        "backend": settings.celery_result_backend.get_secret_value(),
    }
    app = make_app({**urls, "config_source": configuration(settings)})

    @app.task(bind=True, name=TASK_EXECUTE_JOB_NAME, track_started=True, shared=False)  # type: ignore[untyped-decorator]
    def execute_job(task: Task, execute_job_args_packed: Any) -> int:
        args = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
        with holding(Path(task.app.conf[FOLDER_SETTING]) / RUNNING, args.run_id) as ours, capture_interrupts():
            if not ours:  # delivered twice, and the other one is at it
                return 0
            instance = _instance(os.getpid())
            return _execute_run_command_body(
                args.run_id, instance, write_stream_fn=lambda _: None, set_exit_code_on_failure=True
            )

    return app


@lru_cache(maxsize=1)
def _instance(_pid: int) -> DagsterInstance:
    """The instance of this process, which is never one that it was forked with."""
    return DagsterInstance.get()

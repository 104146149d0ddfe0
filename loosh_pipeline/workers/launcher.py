"""Dagster's run launcher over Celery, and how it notices that a run's process is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG

import loosh_pipeline.workers.transport  # noqa: F401  (registers it)
from loosh_pipeline.settings import NO_RESULTS
from loosh_pipeline.workers.config import FOLDER_SETTING, RUNNING
from loosh_pipeline.workers.holding import Held, held, holder


class WorkerRunLauncher(CeleryRunLauncher):  # type: ignore[misc]
    """`CeleryRunLauncher` whose task has the run's id, and whose health check looks for the run's process.

    Its own tags and events for each launch would cost a tenth of a run. Needs `run_monitoring` without resuming.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to the workers. Raises what the broker raises, after which Dagster fails the run."""
        run = context.dagster_run
        if run.job_code_origin is None:
            raise ValueError(f"run {run.run_id} does not say where its code is; launch it from a code location")
        args = ExecuteRunArgs(
            job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=None, set_exit_code_on_failure=True
        )
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        self.celery.send_task(TASK_EXECUTE_JOB_NAME, args=[pack_value(args)], task_id=run.run_id, queue=queue)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED when the process is gone that held a started run; what is held elsewhere, Celery's results tell."""
        match held(self._running, run.run_id):
            case Held.ALIVE:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            case Held.DEAD:
                return CheckRunHealthResult(WorkerStatus.FAILED, "the process that executed it is gone")
        if self.backend == NO_RESULTS:
            return CheckRunHealthResult(WorkerStatus.FAILED, "no process of this machine executes it")
        state = self.celery.AsyncResult(run.run_id).state
        status = {"STARTED": WorkerStatus.RUNNING, "SUCCESS": WorkerStatus.SUCCESS, "FAILURE": WorkerStatus.FAILED}
        return CheckRunHealthResult(status.get(state, WorkerStatus.UNKNOWN), f"Celery says {state}")

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        return f"process: {held(self._running, run.run_id).value}"

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run on this machine; it ends as canceled. False when no process here executes it."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        process = holder(self._running, run_id)
        if process is None:
            self._instance.report_engine_event("No process of this machine executes the run.", run, cls=type(self))
            return False
        os.kill(process, signal.SIGINT)
        return True

    @property
    def supports_resume_run(self) -> bool:
        """Not in this release: a resumed run would be handed arguments that its task does not know."""
        return False

    @property
    def _running(self) -> Path:
        return Path(self.config_source[FOLDER_SETTING]) / RUNNING

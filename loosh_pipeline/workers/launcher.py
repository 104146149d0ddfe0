"""Dagster's run launcher over Celery, and how it notices that a run's process is gone."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from dagster import DagsterRun, DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher

import loosh_pipeline.workers.transport  # noqa: F401  (registers it)
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.hosts import Host, Hosts
from loosh_pipeline.workers.config import (
    EVALUATIONS,
    FOLDER_SETTING,
    MAX_RUNTIME_TAG,
    OVERDUE_S,
    QUEUE_TAG,
    SPREAD_SETTING,
    marks,
)
from loosh_pipeline.workers.heart import shared_hosts
from loosh_pipeline.workers.holding import Held, held, holder, mark, unmark

ONE_PASS_S = 1.0
"""Within that long of each other, runs are looked after together."""


class WorkerRunLauncher(CeleryRunLauncher):  # type: ignore[misc]
    """`CeleryRunLauncher` whose task has the run's id, and whose health check looks for the run's process.

    Its own tags and events for each launch would cost a tenth of a run. Needs `run_monitoring` without resuming.
    """

    _asked_s = -math.inf
    _holders: Mapping[str, Host] = MappingProxyType({})

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to the workers. Raises what the broker raises, after which Dagster fails the run."""
        run = context.dagster_run
        if run.job_code_origin is None:
            raise ValueError(f"run {run.run_id} does not say where its code is; launch it from a code location")
        args = ExecuteRunArgs(
            job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=None, set_exit_code_on_failure=True
        )
        folder, queue = self._marks(run), self._queue(run)
        if self._hosts is None:
            mark(folder, run.run_id)
        try:
            self.celery.send_task(
                TASK_EXECUTE_JOB_NAME,
                args=[pack_value(args)],
                task_id=run.run_id,
                queue=queue,
                time_limit=_limit_s(run),
            )
        except BaseException:
            if self._hosts is None:
                unmark(folder, run.run_id)
            raise

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED when the process is gone that held a started run: by its mark, or as its machine says, or is silent.

        A run that was never launched is executed by whoever created it, in a terminal, say: that is left to its time
        limit. One that was, and that nobody holds, could not write its end (a full disk), or lost its mark with the
        power: whoever executes a run says so before it starts it, and no longer once it has written its end.
        """
        match held(self._marks(run), run.run_id):
            case Held.ALIVE:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            case Held.DEAD:
                return CheckRunHealthResult(WorkerStatus.FAILED, "the process that executed it is gone")
            case Held.UNKNOWN if run.remote_job_origin is None:
                return CheckRunHealthResult(WorkerStatus.RUNNING, "not executed by workers, or over")
        if self._hosts is None:
            return CheckRunHealthResult(WorkerStatus.FAILED, "no process of this machine executes it")
        return _health(self._holder(run.run_id))

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        if self._hosts is not None and (host := self._hosts.holder(run.run_id)) is not None:
            return f"executed on {host.host}, heard of {host.silent_s:.0f} s ago"
        return f"process: {held(self._marks(run), run.run_id).value}"

    def terminate(self, run_id: str) -> bool:
        """End a run, as canceled. False when no machine that is heard of executes it, which its log then says."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        found, process = held(self._marks(run), run_id), holder(self._marks(run), run_id)
        if process is not None:
            self._instance.report_run_canceling(run)
            os.kill(process, signal.SIGINT)
            return True
        if self._hosts is not None and self._hosts.ask_to_cancel(run_id):
            self._instance.report_run_canceling(run)
            return True
        launched = run.status in (DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED)
        if found is Held.DEAD or ((found is Held.NOT_HERE or self._hosts is not None) and launched):
            # Whoever takes the message later finds a run that is over.
            self._instance.report_run_canceled(run, "Canceled while no process executed it.")
            return True
        message = "It cannot be ended from here: no process that executes runs has it, as far as is known."
        self._instance.report_engine_event(message, run, cls=type(self))
        return False

    @property
    def supports_resume_run(self) -> bool:
        """Not in this release: a resumed run would be handed arguments that its task does not know."""
        return False

    @cached_property
    def _hosts(self) -> Hosts | None:
        """Where workers of other machines tell what they execute; None where there are none."""
        return shared_hosts(get_settings(), forks=False) if self.config_source.get(SPREAD_SETTING) else None

    def _holder(self, run_id: str) -> Host | None:
        """The machine that executes a run; monitoring asks for one run after another, which is one question."""
        assert self._hosts is not None
        if time.monotonic() - self._asked_s > ONE_PASS_S:
            self._asked_s, self._holders = time.monotonic(), self._hosts.holders()
        found = self._holders.get(run_id)
        # What bodes ill may have changed since: the run was taken just now, or its machine has spoken.
        return found if found is not None and found.is_heard else self._hosts.holder(run_id)

    def _queue(self, run: DagsterRun) -> str:
        return run.tags.get(QUEUE_TAG, EVALUATIONS)

    def _marks(self, run: DagsterRun) -> Path:
        return marks(Path(self.config_source[FOLDER_SETTING]), self._queue(run))


def _health(host: Host | None) -> CheckRunHealthResult:
    """How a started run is, by the machine that executes it."""
    if host is None:
        return CheckRunHealthResult(WorkerStatus.FAILED, "no process of any machine executes it")
    if host.is_heard:
        return CheckRunHealthResult(WorkerStatus.RUNNING, f"executed on {host.host}")
    why = f"its machine {host.host} was not heard of for {host.silent_s:.0f} s"
    return CheckRunHealthResult(WorkerStatus.FAILED, why)


def _limit_s(run: DagsterRun) -> float | None:
    """When the process of a run is killed that has a time of its own; None for the one that all have."""
    given = run.tags.get(MAX_RUNTIME_TAG, "")
    return float(given) + OVERDUE_S if given.isdigit() else None

"""Runs as tests of the launcher launch and execute them."""

from __future__ import annotations

import dagster as dg
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME

from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.app import worker_app
from loosh_pipeline.workers.config import EVALUATIONS


def stored(instance: dg.DagsterInstance, run: dg.DagsterRun, *events: dg.DagsterEventType) -> dg.DagsterRun:
    """A run with the code's origin, as Dagster's own launching stores it, to which things have happened."""
    instance.run_storage.delete_run(run.run_id)
    instance.run_storage.add_run(run)
    for event in events:
        instance.report_dagster_event(dg.DagsterEvent(event.value, job_name=run.job_name), run_id=run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def execute(settings: Settings, run: dg.DagsterRun) -> int:
    """What a worker makes of the message of a run."""
    assert run.job_code_origin is not None
    args = ExecuteRunArgs(run.job_code_origin, run.run_id, None, set_exit_code_on_failure=True)
    task = worker_app(settings).tasks[TASK_EXECUTE_JOB_NAME]
    found: int = task.apply([pack_value(args)], routing_key=EVALUATIONS).get()
    return found

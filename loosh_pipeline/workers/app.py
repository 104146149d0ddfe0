"""The worker's Celery application: one task, which executes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery, Task
from dagster._utils.interrupts import capture_interrupts
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task

import loosh_pipeline.workers.transport  # noqa: F401  (registers it)
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import FOLDER_SETTING, RUNNING, configuration
from loosh_pipeline.workers.holding import holding


class HeldTask(Task):  # type: ignore[misc]
    """A task that holds its run while it executes it. Its id is the run's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with holding(folder_of(self.app) / RUNNING, self.request.id) as ours, capture_interrupts():
            return super().__call__(*args, **kwargs) if ours else None


def folder_of(app: Celery) -> Path:
    """The folder of an application that `worker_app` made."""
    return Path(app.conf[FOLDER_SETTING])


def worker_app(settings: Settings) -> Celery:
    """The application of a worker: it knows the one task there is."""
    app = make_app(
        {
            "broker": settings.celery_broker_url.get_secret_value(),
            "backend": settings.celery_result_backend.get_secret_value(),
            "config_source": configuration(settings),
        }
    )
    create_execute_job_task(app, base=HeldTask)  # keyword arguments go to Celery's own decorator
    return app

"""How workers and whoever launches runs find each other: Celery's settings, from ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loosh_pipeline.settings import FILES_BROKER, Settings

FOLDER_OPTION = "folder"
POLL_S = 0.05
PUBLISH_WITHIN_S = 3.0
RESULTS_KEPT_S = 3600
FOLDER_SETTING = "loosh_folder"
RUNNING = "running"
UPKEEP_SLOTS = 2
"""Worker processes beyond those that evaluate: weights and snapshots never wait for a miner."""


def folder(settings: Settings) -> Path:
    """Where messages lie and runs are held."""
    return settings.home / "celery"


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings, alike for whoever launches and whoever runs."""
    if uses_files(settings):
        transport: dict[str, Any] = {FOLDER_OPTION: str(folder(settings)), "polling_interval": POLL_S}
    else:
        transport = {"socket_connect_timeout": PUBLISH_WITHIN_S, "socket_timeout": 30.0}
    return {
        "broker_transport_options": transport,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": PUBLISH_WITHIN_S,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2, "interval_max": 0.2},
        "task_acks_late": True,  # a killed worker's messages are taken again
        # Dagster ignores a run that comes again while it counts as started: it is for run monitoring to fail it.
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "result_expires": RESULTS_KEPT_S,
        FOLDER_SETTING: str(folder(settings)),
    }


def uses_files(settings: Settings) -> bool:
    """Whether messages are files in LOOSH_HOME, which one machine's workers take."""
    return settings.celery_broker_url.get_secret_value() == FILES_BROKER

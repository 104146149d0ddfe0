"""How workers and whoever launches runs find each other: Celery's settings, from ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loosh_pipeline.orchestrator import RESCORED_DAYS, RESCORING_TAG
from loosh_pipeline.settings import Settings

FOLDER_OPTION = "folder"
POLL_S = 0.05
PUBLISH_WITHIN_S = 3.0
FOLDER_SETTING = "loosh_folder"
SPREAD_SETTING = "loosh_spread"
"""Whether workers may be on other machines."""
RUNNING = "running"
PRIORITY_TAG, MAX_RUNTIME_TAG = "dagster/priority", "dagster/max_runtime"
QUEUE_TAG = "dagster-celery/queue"
"""Tag of a run that says whose workers execute it."""
EVALUATIONS = "dagster"
"""The queue of runs without that tag: challenges, backfills, what is run by hand."""
UPKEEP = "upkeep"
"""The queue of what must wait for no miner, narrative or backfill: weights, snapshots, looks for miners."""
UPKEEP_CHILDREN = 2
SPARE_CHILDREN = 2
"""Worker processes beyond the challenges that may be in flight, for backfills and what is run by hand."""
LONGEST_RESCORING_S = 4 * 3600
"""How long a run may score again: of a day of 24,000 challenges, on a machine that is busy otherwise."""
OVERDUE_S = 60
"""How long after Dagster has given a run up its process is killed, if nothing else ended it."""
UNSEEN_S = 600
"""How much longer than the longest run a message stays with the worker that took it."""


def folder(settings: Settings) -> Path:
    """Where messages lie and runs are held."""
    return settings.home / "celery"


def children(settings: Settings, queue: str) -> int:
    """How many processes execute the runs of a queue."""
    return UPKEEP_CHILDREN if queue == UPKEEP else settings.max_concurrent_runs + SPARE_CHILDREN


def rescoring_tags(asset: str) -> dict[str, str]:
    """What a run that scores again is tagged with: it waits for everything else, one challenge not for many days."""
    kind, priority = ("day", "-10") if asset == RESCORED_DAYS else ("challenge", "-9")
    return {RESCORING_TAG: kind, PRIORITY_TAG: priority, MAX_RUNTIME_TAG: str(LONGEST_RESCORING_S)}


def longest_run_s(settings: Settings) -> int:
    """How long a run may take before Dagster gives it up."""
    return int(4 * settings.challenge_timeout_s + 300)


def marks(folder: Path, queue: str) -> Path:
    """Where runs of a queue are marked that were handed over."""
    return folder / RUNNING / queue


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings, alike for whoever launches and whoever runs."""
    if settings.hands_out_files:
        transport: dict[str, Any] = {FOLDER_OPTION: str(folder(settings)), "polling_interval": POLL_S}
    else:
        transport = {
            "socket_connect_timeout": PUBLISH_WITHIN_S,
            "socket_timeout": 30.0,
            # Redis hands a message out again after this, whether or not somebody still works on it. What a killed
            # machine had taken need not come sooner: Dagster ends its runs, and their challenges get others.
            "visibility_timeout": longest_run_s(settings) + UNSEEN_S,
        }
    return {
        "broker_transport_options": transport,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": PUBLISH_WITHIN_S,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2, "interval_max": 0.2},
        "task_acks_late": True,  # a killed worker's messages are taken again
        # Dagster ignores a run that comes again while it counts as started: it is for run monitoring to fail it.
        "task_reject_on_worker_lost": False,
        "task_time_limit": longest_run_s(settings) + OVERDUE_S,  # a process that hangs would be lost for good
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_ignore_result": True,
        FOLDER_SETTING: str(folder(settings)),
        SPREAD_SETTING: settings.spread,
    }

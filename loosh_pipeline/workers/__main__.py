"""The worker process: `python -m loosh_pipeline.workers`.

Everything a run needs is imported before the children are forked, so that all of them share it and none imports
anything again. A run executes in the main thread of a child: two Dagster runs in threads of one process can deadlock.
"""

from __future__ import annotations

import gc
import logging

from dagster._core.definitions.reconstruct import ReconstructableRepository

from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.workers.app import worker_app
from loosh_pipeline.workers.config import RUNNING, UPKEEP_SLOTS, folder, uses_files
from loosh_pipeline.workers.holding import sweep
from loosh_pipeline.workers.transport import put_back

logger = logging.getLogger(__name__)

CHILD_KIB = 600 * 1024
"""Memory at which a child is replaced after its run."""


def main() -> None:
    settings = get_settings()
    preload()
    tidy(settings)
    worker_app(settings).worker_main(arguments(settings))


def preload() -> None:
    """Import what runs need, and keep the collector from touching (and so copying) its pages in the children."""
    import loosh_pipeline.heatmap
    import loosh_pipeline.scoring.score  # noqa: F401

    ReconstructableRepository.for_module("loosh_pipeline.definitions", "defs").get_definition()
    gc.collect()
    gc.freeze()


def tidy(settings: Settings) -> None:
    """Take up what an earlier worker left: messages it had taken, and marks of runs that died with it."""
    if uses_files(settings) and (found := put_back(folder(settings))):
        logger.warning("%d runs that an earlier worker had taken are taken again", found)
    sweep(folder(settings) / RUNNING)


def arguments(settings: Settings) -> list[str]:
    """Celery's command line."""
    return [
        "worker",
        "--pool=prefork",
        f"--concurrency={settings.max_concurrent_runs + UPKEEP_SLOTS}",
        f"--max-tasks-per-child={settings.worker_max_runs}",
        f"--max-memory-per-child={CHILD_KIB}",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        f"--loglevel={settings.log_level}",
    ]


if __name__ == "__main__":
    main()

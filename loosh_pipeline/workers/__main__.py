"""A worker process: `python -m loosh_pipeline.workers`, and with `--queue upkeep` the one for what must not wait.

Everything a run needs is imported before the children are forked, so that all of them share it and none imports
anything again. A run executes in the main thread of a child: two Dagster runs in threads of one process can deadlock.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path

import billiard
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_ready, worker_shutting_down
from dagster._core.definitions.reconstruct import ReconstructableRepository

from loosh_pipeline.logged import leave_logging_alone
from loosh_pipeline.logs import configure
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.shared_places import marked_places, see_what_is_shared
from loosh_pipeline.workers.app import worker_app
from loosh_pipeline.workers.config import EVALUATIONS, UPKEEP, children, folder, marks
from loosh_pipeline.workers.heart import Heart, host_name, shared_hosts
from loosh_pipeline.workers.holding import sweep
from loosh_pipeline.workers.storage import sweep_copies
from loosh_pipeline.workers.transport import put_back

STOP_WITHIN_S = 10.0
"""Some seconds less than `loosh up` waits for before it kills: the other machines are told, too."""
logger = logging.getLogger(__name__)

LEFT_AFTER_S = 3600
"""Age at which a file that nobody finished never will be."""
CHILD_KIB = 600 * 1024
"""Memory at which a child is replaced after its run."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.workers")
    parser.add_argument("--queue", choices=[EVALUATIONS, UPKEEP], default=EVALUATIONS, help="whose runs to execute")
    queue, settings = parser.parse_args().queue, get_settings()
    log(settings, queue)
    fork()
    preload()
    hush()
    see_what_is_shared(settings)
    heart = heart_of(settings, queue)
    end_within(STOP_WITHIN_S, heart)
    tidy(settings, queue)
    clear(settings.home, time.time() - LEFT_AFTER_S)
    status = 0
    try:
        worker_app(settings).worker_main(arguments(settings, queue))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    if heart is not None:
        heart.leave()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # on a usual end, libraries would list in the log whatever they still hold


def heart_of(settings: Settings, queue: str) -> Heart | None:
    """What tells the other machines of this one's workers, where there may be others. It begins when Celery is ready:
    who is told of here is to have processes.

    Raises StoreError when another machine has this one's name, and SQLAlchemyError when the database is away.
    """
    hosts = shared_hosts(settings)
    if hosts is None:
        return None
    heart = Heart(hosts, host_name(settings), queue, settings, _end, marked_places(settings))
    heart.adopt()

    def begin(**_: object) -> None:
        try:
            heart.start()
        except Exception as error:  # Celery would only log it, and take messages
            _end(f"the database does not answer: {error}")

    worker_ready.connect(begin, weak=False)
    return heart


def end_within(limit_s: float, heart: Heart | None = None) -> None:
    """Once told to stop, give runs that long to end; then end with all processes.

    Celery would wait for them, and a run may wait minutes for an embedder that is gone, as long as which the next
    `loosh up` would wait for this. What dies with this is followed by another run.
    """

    def begin_to_count(**_: object) -> None:
        timer = threading.Timer(limit_s, _leave, [heart])
        timer.daemon = True
        timer.start()

    worker_shutting_down.connect(begin_to_count, weak=False)


def _leave(heart: Heart | None) -> None:
    """End now; the other machines are told first that what is executed here dies."""
    if heart is not None:
        heart.leave()
    _end("runs are still executed, and end with these workers")


def _end(why: str) -> None:
    """End with all processes, now."""
    logger.error(why)
    if os.getpgrp() == os.getpid():  # as `loosh up` starts us; else the group is somebody else's too
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def log(settings: Settings, queue: str) -> None:
    """Log as every process does; Celery and Dagster leave it at that."""
    configure(settings, "upkeep" if queue == UPKEEP else "worker")
    leave_logging_alone()
    setup_logging.connect(_leave_it, weak=False)


def _leave_it(**_: object) -> None:
    """Celery sets logging up itself unless somebody is connected to this signal."""


def hush() -> None:
    """Keep out of the log that containers run as root."""
    warnings.simplefilter("ignore", SecurityWarning)


def fork() -> None:
    """Have children forked, on macOS too: those that Celery would spawn there know neither the task nor the imports."""
    billiard.set_start_method("fork", force=True)


def preload() -> None:
    """Import what runs need, and keep the collector from touching (and so copying) its pages in the children."""
    import loosh_pipeline.heatmap
    import loosh_pipeline.scoring.score  # noqa: F401

    ReconstructableRepository.for_module("loosh_pipeline.definitions", "defs").get_definition()
    gc.collect()
    gc.freeze()


def tidy(settings: Settings, queue: str) -> None:
    """Take up what an earlier worker of the queue left: messages it had taken, and old marks of runs that died."""
    if settings.hands_out_files and (found := put_back(folder(settings), queue)):
        logger.warning("%d runs that an earlier worker had taken are taken again", found)
    sweep(marks(folder(settings), queue))


def clear(home: Path, before: float) -> None:
    """Remove files that were being written when their process was killed: those last written before that time."""
    sweep_copies(home / "dagster_home", before)
    for path in (home / "celery" / "waiting").glob(".*.json"):
        with suppress(FileNotFoundError):  # another worker is doing the same
            if path.stat().st_mtime < before:
                path.unlink()


def arguments(settings: Settings, queue: str) -> list[str]:
    """Celery's command line."""
    return [
        "--quiet",  # no banner
        "worker",
        "--pool=prefork",
        f"--queues={queue}",
        f"--hostname={queue}@%h",
        f"--concurrency={children(settings, queue)}",
        f"--max-tasks-per-child={settings.worker_max_runs}",
        f"--max-memory-per-child={CHILD_KIB}",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        f"--loglevel={settings.log_level}",
    ]


if __name__ == "__main__":
    main()

"""Whether a run's process lives is what the kernel says of a lock."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.workers.config import EVALUATIONS, SPARE_CHILDREN, folder, marks
from loosh_pipeline.workers.holding import KEPT_S, Held, Taken, busy, held, holder, holding, mark, sweep, unmark
from loosh_pipeline.workers.room import free_children


def hold_and_hang(folder: Path, begun: Any) -> None:
    with holding(folder, "run") as taken:
        assert taken is Taken.OURS
        begun.set()
        signal.pause()


def test_a_run_is_marked_then_held_until_it_is_over(tmp_path: Path) -> None:
    assert (held(tmp_path, "run"), holder(tmp_path, "run")) == (Held.UNKNOWN, None)
    mark(tmp_path, "run")
    assert (held(tmp_path, "run"), holder(tmp_path, "run")) == (Held.NOT_HERE, None)
    with holding(tmp_path, "run") as taken:
        assert taken is Taken.OURS
        assert (held(tmp_path, "run"), holder(tmp_path, "run")) == (Held.ALIVE, os.getpid())
    assert held(tmp_path, "run") is Held.UNKNOWN


def test_one_that_was_not_handed_over_is_forgotten(tmp_path: Path) -> None:
    mark(tmp_path, "run")
    unmark(tmp_path, "run")
    assert held(tmp_path, "run") is Held.UNKNOWN


def test_a_run_is_held_once(tmp_path: Path) -> None:
    with holding(tmp_path, "run"), holding(tmp_path, "run") as second:
        assert second is Taken.ANOTHERS
        assert held(tmp_path, "run") is Held.ALIVE, "the first one holds it still"


def test_a_run_is_taken_while_someone_looks_at_its_mark(tmp_path: Path) -> None:
    mark(tmp_path, "run")
    with (tmp_path / "run").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        look = threading.Timer(0.03, fcntl.flock, (file, fcntl.LOCK_UN))
        look.start()
        with holding(tmp_path, "run") as taken:
            assert taken is Taken.OURS
        look.join()


def test_an_error_leaves_the_mark_of_a_process_that_is_gone(tmp_path: Path) -> None:
    def fail() -> None:
        with holding(tmp_path, "run"):
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        fail()
    assert held(tmp_path, "run") is Held.DEAD


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    victim = context.Process(target=hold_and_hang, args=(tmp_path, begun))
    victim.start()
    assert begun.wait(60)
    assert (held(tmp_path, "run"), holder(tmp_path, "run"), busy(tmp_path)) == (Held.ALIVE, victim.pid, 1)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(30)
    assert (held(tmp_path, "run"), holder(tmp_path, "run"), busy(tmp_path)) == (Held.DEAD, None, 0)
    with holding(tmp_path, "run") as taken:
        assert taken is Taken.OURS_AFTER_DEATH, "another may take it up"


def test_marks_of_the_dead_stay_until_nobody_asks_after_them(tmp_path: Path) -> None:
    old_s = time.time() - KEPT_S - 60
    for name in ("dead", "handed-over", "dead-long-ago", "handed-over-long-ago"):
        (tmp_path / name).write_text("1" if name.startswith("dead") else "")
        if name.endswith("ago"):
            os.utime(tmp_path / name, (old_s, old_s))
    with holding(tmp_path, "alive"):
        os.utime(tmp_path / "alive", (old_s, old_s))
        sweep(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["alive", "dead", "handed-over"]


def test_processes_that_are_busy_are_not_free(own_home: Path) -> None:
    settings = Settings(max_concurrent_runs=2)
    engine = Inbox.open(settings.inbox_url).engine
    assert free_children(settings, engine) == 2 + SPARE_CHILDREN, "no worker has ever run here"
    evaluations = marks(folder(settings), EVALUATIONS)
    mark(evaluations, "handed-over")
    with holding(evaluations, "a"), holding(evaluations, "b"), holding(marks(folder(settings), "upkeep"), "c"):
        assert free_children(settings, engine) == SPARE_CHILDREN, "those of another queue do not count"
    assert free_children(settings, engine) == 2 + SPARE_CHILDREN

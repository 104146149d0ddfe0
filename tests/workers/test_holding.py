"""Whether a run's process lives is what the kernel says of a lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from loosh_pipeline.workers.holding import Held, held, holder, holding, sweep


def hold_and_hang(folder: Path, begun: Any) -> None:
    with holding(folder, "run") as ours:
        assert ours
        begun.set()
        signal.pause()


def test_a_run_is_held_until_it_is_over(tmp_path: Path) -> None:
    assert held(tmp_path, "run") is Held.UNKNOWN
    assert holder(tmp_path, "run") is None
    with holding(tmp_path, "run") as ours:
        assert ours
        assert (held(tmp_path, "run"), holder(tmp_path, "run")) == (Held.ALIVE, os.getpid())
    assert held(tmp_path, "run") is Held.UNKNOWN


def test_a_run_is_held_once(tmp_path: Path) -> None:
    with holding(tmp_path, "run"), holding(tmp_path, "run") as second:
        assert not second
        assert held(tmp_path, "run") is Held.ALIVE, "the first one holds it still"


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    victim = context.Process(target=hold_and_hang, args=(tmp_path, begun))
    victim.start()
    assert begun.wait(60)
    assert (held(tmp_path, "run"), holder(tmp_path, "run")) == (Held.ALIVE, victim.pid)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(30)
    assert (held(tmp_path, "run"), holder(tmp_path, "run")) == (Held.DEAD, None)
    with holding(tmp_path, "alive"):
        sweep(tmp_path)
        assert os.listdir(tmp_path) == ["alive"]
    with holding(tmp_path, "run") as ours:
        assert ours, "another may take it up"

"""Processes of one validator that tests look at and kill."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loosh_pipeline.processes import processes_of
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import EVALUATIONS, marks
from loosh_pipeline.workers.config import folder as celery_folder
from loosh_pipeline.workers.holding import holder


def ingress_pid(home: Path) -> int:
    (pid,) = (process.pid for process in processes_of(home) if process.command.split()[1:] == ["-m", "ingress"])
    return pid


def evaluating_pids(settings: Settings) -> set[int]:
    """Worker processes that execute an evaluation right now, by the marks that they hold."""
    folder = marks(celery_folder(settings), EVALUATIONS)
    found = (holder(folder, path.name) for path in folder.glob("*"))
    return {pid for pid in found if pid is not None}


def connected_ports(pid: int) -> set[int]:
    """Ports on loopback to which a process has a TCP connection; none when it has ended."""
    try:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:
        return set()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in links}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@contextmanager
def of_nobody(home: Path) -> Iterator[None]:
    """In a directory without a `.env`, and with no settings in the environment. Skips where processes are not found."""
    if sys.platform != "linux":
        pytest.skip("finds and kills processes through /proc, which only Linux has")
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.chdir(home)
        yield

"""Which runs are held by a live process of this machine: one locked file a run.

The lock is the kernel's and ends with the process, however that ends; process numbers, which are used again, need not
be compared. The file also says which process it is, for whoever wants to interrupt it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path


class Held(Enum):
    """What is known of the process that executes a run."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """No process of this machine holds it: it has not begun, is over, or runs on another machine."""


@contextmanager
def holding(folder: Path, run_id: str) -> Iterator[bool]:
    """Hold a run as this process. Yields False when another process holds it already."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / run_id
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield True
        path.unlink(missing_ok=True)


def held(folder: Path, run_id: str) -> Held:
    """Whether the process that took a run still lives."""
    try:
        file = (folder / run_id).open()
    except FileNotFoundError:
        return Held.UNKNOWN
    with file:
        return Held.DEAD if _unlocked(file.fileno()) else Held.ALIVE


def holder(folder: Path, run_id: str) -> int | None:
    """The live process that holds a run; None when there is none on this machine."""
    try:
        with (folder / run_id).open() as file:
            text = file.read()
            return int(text) if text and not _unlocked(file.fileno()) else None
    except FileNotFoundError:
        return None


def sweep(folder: Path) -> None:
    """Remove what dead processes left behind."""
    for path in folder.glob("*"):
        if held(folder, path.name) is Held.DEAD:
            path.unlink(missing_ok=True)


def _unlocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

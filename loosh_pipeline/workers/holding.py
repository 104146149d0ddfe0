"""Which runs are held by a live process of this machine: one marked, and while it is executed locked, file a run.

    FOLDER/RUN_ID      empty from when the run was handed over; with the number of the process that took it; gone when
                       the run is over

The lock is the kernel's and ends with the process, however that ends; process numbers, which are used again, need not
be compared. The number is there for whoever wants to interrupt the process.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

LOOKS_S = 0.2
"""Longer than a look at a mark locks it; a process that executes a run holds it on."""
KEPT_S = 24 * 3600.0
"""How long the mark of a dead process stays to be asked after."""


class Held(Enum):
    """What is known of the process that executes a run."""

    UNKNOWN = "unknown"
    """No mark: it was not handed to workers, or is over."""
    NOT_HERE = "not on this machine"
    """It was handed over, and no process of this machine has taken it."""
    ALIVE = "alive"
    DEAD = "dead"


class Taken(Enum):
    """What a process that wants to hold a run has got."""

    OURS = "ours"
    OURS_AFTER_DEATH = "ours, after a process that died"
    ANOTHERS = "another's"


def mark(folder: Path, run_id: str) -> None:
    """Note that a run is about to be handed over."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / run_id).touch()


def unmark(folder: Path, run_id: str) -> None:
    """Forget a run: it was not handed over, or is over."""
    (folder / run_id).unlink(missing_ok=True)


@contextmanager
def holding(folder: Path, run_id: str) -> Iterator[Taken]:
    """Hold a run as this process, which forgets it at the end; after an error the mark tells that it died."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / run_id).open("a+") as file:
        if not _locked(file.fileno()):
            yield Taken.ANOTHERS
            return
        before = os.fstat(file.fileno()).st_size
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield Taken.OURS_AFTER_DEATH if before else Taken.OURS
        unmark(folder, run_id)


def held(folder: Path, run_id: str) -> Held:
    """Whether the process that took a run still lives."""
    return _look(folder / run_id)[0]


def holder(folder: Path, run_id: str) -> int | None:
    """The live process that holds a run; None when there is none on this machine."""
    found, text = _look(folder / run_id)
    return int(text) if found is Held.ALIVE else None


def busy(folder: Path) -> int:
    """How many live processes of this machine hold a run."""
    return sum(_look(path)[0] is Held.ALIVE for path in folder.glob("*"))


def sweep(folder: Path) -> None:
    """Remove marks that nobody holds and nobody will ask after any more."""
    until_s = time.time() - KEPT_S
    for path in folder.glob("*"):
        found, _ = _look(path)
        if found in (Held.DEAD, Held.NOT_HERE) and path.stat().st_mtime < until_s:
            path.unlink(missing_ok=True)


def _look(path: Path) -> tuple[Held, str]:
    """What a mark says, and the number in it."""
    try:
        with path.open() as file:
            if not (text := file.read()):
                return Held.NOT_HERE, text
            return (Held.DEAD if _try(file.fileno(), fcntl.LOCK_SH) else Held.ALIVE), text
    except FileNotFoundError:
        return Held.UNKNOWN, ""


def _locked(descriptor: int) -> bool:
    """Lock a mark, unless a process holds it on."""
    until_s = time.monotonic() + LOOKS_S
    while not (locked := _try(descriptor, fcntl.LOCK_EX)) and time.monotonic() < until_s:
        time.sleep(LOOKS_S / 10)
    return locked


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

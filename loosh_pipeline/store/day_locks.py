"""On a disk, whoever writes a table of a compacted day and whoever removes one that a part holds wait for each other.

So nothing that was written is removed with what was there before, and a process that is killed holds nobody up. Where a
file system knows no locks, nothing is removed. An object store knows none: see `Tables.write`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NAME = ".lock"
"""In the directory of the day's parts. Machines that share a directory need locks that reach all of them."""


@contextmanager
def writing(directory: str) -> Iterator[None]:
    """Keep files of a day from being removed. `directory`: of its parts; without one, nothing is removed soon."""
    try:
        lock = os.open(os.path.join(directory, NAME), os.O_RDONLY | os.O_CREAT, 0o644)
    except FileNotFoundError:
        yield
        return
    try:
        with suppress(OSError):  # nobody else gets a lock here either, and so nothing is removed
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


@contextmanager
def removing(directory: str) -> Iterator[None]:
    """Keep files of a day from being written. Raises BlockingIOError while one is, and OSError without locks."""
    lock = os.open(os.path.join(directory, NAME), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)

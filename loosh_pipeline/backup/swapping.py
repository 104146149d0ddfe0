"""Putting a directory or a file in its place, so that whoever looks sees the old one or the new one."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
NO_LINKS = (*NOT_SUPPORTED, errno.EPERM, errno.EMLINK)
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def put_in_place(new: Path, place: Path, aside: Path) -> None:
    """Move `new` to `place`, and what is there to `aside`, all in one directory.

    Killed in between, `place` is the new one and the old one still bears the name of `new`. Where the file system
    cannot exchange names (and on macOS), `place` may then be missing, with the old one whole at `aside`.
    """
    if _exchanged(new, place):
        new.rename(aside)
    else:
        place.rename(aside)
        new.rename(place)
    sync_folder(place.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names at once, where the system can. Raises OSError for any other reason."""
    if LIBC is None or not hasattr(LIBC, "renameat2"):
        return False
    if LIBC.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def put_where_nothing_is(file: Path, place: Path) -> None:
    """Give a file the name `place`, whole; it may keep its own one. Raises FileExistsError, and replaces nothing.

    Where a file system knows no links (FAT, some shares), the name is taken with an empty file first.
    """
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(file, place)


def sync_folder(folder: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

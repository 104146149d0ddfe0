"""What is taken of an archive that a stranger may have made: bounded in memory, disk and what is said of it."""

from __future__ import annotations

import errno
import os
import tarfile
from typing import NoReturn

HEADER_BYTES = 2048
"""Of a header that only carries a long name or size: names have at most NAME_CHARS."""
NAME_CHARS = 1024
SAID_CHARS = 120
RESERVE_BYTES = 64 * 1024 * 1024
"""Stays free on a disk, so that what else runs there goes on."""
OF_OURS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
"""Kinds of headers before that of a file: tarfile's own, and GNU tar's."""
NEVER = (tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE)


class Header(tarfile.TarInfo):
    """Refuses, before it is read, what tarfile would hold in memory whole, and files larger than their data."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in NEVER:
            raise tarfile.ReadError("it has headers that no backup has")
        if self.size < 0 or (self.type in OF_OURS and self.size > HEADER_BYTES):
            raise tarfile.ReadError(f"it has a header that states {self.size:,} bytes")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]  # what tarfile asks subclasses for
        return member

    def _sparse(self, *_: object) -> NoReturn:
        raise tarfile.ReadError("it has sparse files")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


def require_reserve(folder: str | int) -> None:
    """Raises OSError as a full disk does, a little earlier. `folder`: a path, or an open directory."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder if isinstance(folder, str) else None)


def shortened(said: object) -> str:
    """In one line of characters that can be shown."""
    text = str(said)
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= SAID_CHARS else f"{shown[:SAID_CHARS]}…"

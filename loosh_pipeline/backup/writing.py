"""Writing a new data directory, also as root for another user, who may do what he likes beside it meanwhile.

Everything is reached by descriptors, from the new directory down; no link is followed. Only what was written here gets
an owner, before anybody but root can reach it: what is carried over by further names keeps its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loosh_pipeline.backup.bounds import require_reserve
from loosh_pipeline.backup.places import TABLES

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
LOOK_AFTER_BYTES = 16 * 1024 * 1024
"""How often it is asked whether the disk has room left."""
FILE_BYTES = 4096
"""What a file takes by itself."""


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom what is written is given; None: to nobody, it stays ours."""

    user: int
    group: int

    @classmethod
    def of(cls, status: os.stat_result) -> Owner | None:
        """Root writes for the user whose validator it is."""
        if os.geteuid() != 0 or status.st_uid == 0:
            return None
        return cls(status.st_uid, status.st_gid)


def give(descriptor: int, owner: Owner | None) -> None:
    if owner is not None:
        os.fchown(descriptor, owner.user, owner.group)


class Writer:
    """Writes the files of an archive to where each belongs in a new data directory, which is open as `root`."""

    def __init__(self, root: int, inside: Mapping[str, Path], owner: Owner | None) -> None:
        self._root = root
        self._inside = inside
        self._owner = owner
        self._since_look_bytes = LOOK_AFTER_BYTES

    def take(self, name: str, chunks: Iterator[bytes]) -> None:
        part, *rest = PurePosixPath(name).parts
        *folders, last = self._inside[part].joinpath(*rest).parts
        with self._folder(folders) as folder:
            mode = 0o644 if part == TABLES else 0o600
            with open(os.open(last, NEW_FILE, mode, dir_fd=folder), "wb") as file:
                give(file.fileno(), self._owner)
                self._look(FILE_BYTES)
                for chunk in chunks:
                    self._look(len(chunk))
                    file.write(chunk)

    @contextmanager
    def _folder(self, parts: list[str]) -> Iterator[int]:
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                above, descriptor = descriptor, _made(part, descriptor, self._owner)
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)

    def _look(self, size_bytes: int) -> None:
        self._since_look_bytes += size_bytes
        if self._since_look_bytes >= LOOK_AFTER_BYTES:
            require_reserve(self._root)
            self._since_look_bytes = 0


def _made(name: str, above: int, owner: Owner | None) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=above)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=above)
    descriptor = os.open(name, FOLDER, dir_fd=above)
    give(descriptor, owner)
    return descriptor


def carry_over(old: int, new: int, without: Set[str]) -> None:
    """What is in an open directory, but for those names, into another: files as further names of the same ones,
    directories as new ones with the owners and modes of theirs."""
    with os.scandir(old) as entries:
        for entry in entries:
            if entry.name in without:
                continue
            if entry.is_dir(follow_symlinks=False):
                _carry_folder(entry.name, old, new)
            else:
                os.link(entry.name, entry.name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)


def _carry_folder(name: str, old: int, new: int) -> None:
    with opened(name, old) as source:
        os.mkdir(name, 0o700, dir_fd=new)
        with opened(name, new) as copy:
            carry_over(source, copy, frozenset())
            status = os.fstat(source)
            give(copy, Owner.of(status))
            os.fchmod(copy, status.st_mode & 0o7777)
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def opened(name: str | Path, above: int | None = None) -> Iterator[int]:
    """An open directory, and no link to one."""
    descriptor = os.open(name, FOLDER, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

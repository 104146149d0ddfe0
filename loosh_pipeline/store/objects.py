"""Whole files under one root, on a disk or in an object store: put, read, listed, removed.

A file appears whole or not at all, and is durable once `put` returns.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from loosh_pipeline.errors import StoreError

GLOB_CHARACTERS = "*?["
PARQUET = ".parquet"
SECONDS_PER_H = 3600
PROBE_BYTES = 256 * 1024
"""Somewhat more than all tables of a round: there is room for another one."""
VERSION_FIELDS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""By which fsspec's file systems tell one version of an object from the next."""
READ_BACK_BYTES = 64 * 1024
TRIES = 3
"""Attempts to write into a directory that somebody removes, as it is empty, meanwhile."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TableFile(NamedTuple):
    """One file of an asset's day.

    `stamp` is another one whenever the file was written again, and empty where the store does not tell. `hour`: in
    which it was written, counted from 1970.
    """

    name: str
    stamp: str
    hour: int


class Objects:
    """Files by their paths, which begin with `root`.

    Raises StoreError for a root that DuckDB would read as a pattern.
    """

    def __init__(self, root: str) -> None:
        if any(character in root for character in GLOB_CHARACTERS):
            raise StoreError(f"TABLES_DIR (or LOOSH_HOME) {root!r} contains one of {GLOB_CHARACTERS}; rename it")
        # What another process wrote must be seen: an object store's client would cache listings for good.
        self.fs, self.root = fsspec.core.url_to_fs(root, use_listings_cache=False)
        self.local = isinstance(self.fs, LocalFileSystem)
        self.fs.makedirs(self.root, exist_ok=True)

    def check_writable(self) -> None:
        """Write a file and remove it. Raises StoreError with the reason; an object store is not asked."""
        if not self.local:
            return
        probe = os.path.join(self.root, f".{uuid.uuid4().hex}.tmp")
        try:
            try:
                with open(probe, "xb") as file:
                    file.write(b"\0" * PROBE_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(probe)
        except OSError as error:
            raise StoreError(f"the tables cannot be written: {error.strerror}; make room, or repair it") from error

    def check_listed(self) -> None:
        """Look what an object store holds here; nothing is written. Raises StoreError with the reason."""
        bucket = self.root.lstrip("/").partition("/")[0]
        try:
            try:
                self.fs.ls(self.root, detail=False)
            except FileNotFoundError:  # nothing was written yet, unless there is no bucket either
                self.fs.ls(bucket, detail=False)
        except FileNotFoundError as error:
            raise StoreError(f"is not there: no bucket {bucket}; make it, or set TABLES_DIR right") from error
        except Exception as error:  # whatever the store's own client raises
            raise StoreError(
                f"cannot be listed ({type(error).__name__}: {error}); check its name, the credentials and the network"
            ) from error

    def directories(self, path: str) -> list[str]:
        """Names of what lies in a directory; none where there is none. Raises StoreError where nobody can tell."""
        try:
            if self.local:
                return os.listdir(path)  # twenty times as fast, which a year of days feels at every look
            paths = self.fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot list the tables in {path}: {error}; see that it can be read") from error
        return [os.path.basename(each.rstrip("/")) for each in paths]

    def listed(self, directory: str, ending: str = PARQUET) -> list[TableFile]:
        """Files of a directory, in one look at it; none where there is no directory."""
        try:
            if self.local:
                return list(_local_files(directory, ending))
            listed = map(remote_file, self.fs.ls(directory, detail=True))
            return [each for each in listed if each.name.endswith(ending)]
        except FileNotFoundError:
            return []

    def below(self, directory: str) -> Iterator[tuple[str, TableFile]]:
        """All files of an object store below a directory, with their paths, in as few requests as it can."""
        with suppress(FileNotFoundError):
            for path, info in self.fs.find(directory, detail=True).items():
                if path.endswith(PARQUET):
                    yield path, remote_file({**info, "name": path})

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(path))

    def content(self, path: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""
        content: bytes = self.fs.cat_file(path)
        return content

    def open(self, path: str) -> IO[bytes]:
        """A file of which some is read, here and there. Raises FileNotFoundError."""
        if self.local:
            return open(path, "rb")
        opened: IO[bytes] = self.fs.open(path, "rb")
        return opened

    def put(self, path: str, content: bytes, *, replace: bool) -> bool:
        """Write a file; False when there is one, which is not to be replaced."""
        return (self._put_local if self.local else self._put_remote)(path, content, replace)

    def remove(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        with suppress(FileNotFoundError):
            self.fs.rm_file(path)

    def remove_directory(self, path: str) -> None:
        """Delete a directory with all that is in it, but for what is written meanwhile."""
        try:
            self.fs.rm(path, recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise

    def remove_if_empty(self, path: str) -> None:
        """Delete a directory in which nothing is left. An object store has none, but for stand-ins of one."""
        with suppress(OSError):
            self.fs.rmdir(path)

    def _put_local(self, path: str, content: bytes, replace: bool) -> bool:
        for _ in range(TRIES):
            try:
                return _written(path, content, replace)
            except FileNotFoundError:  # the directory is not there, or not any more
                _make_directories(os.path.dirname(path))
        return _written(path, content, replace)

    def _put_remote(self, path: str, content: bytes, replace: bool) -> bool:
        """Object stores put whole objects.

        Of two that put the same new object at once, one is told so: by the store, where its client has it take only
        what is new (fsspec's mode `create`, if the client passes it on: S3 and Google's do); else by what is found
        there afterwards, which cannot tell when the other comes later still.
        """
        self.fs.makedirs(os.path.dirname(path), exist_ok=True)
        if not replace and self.fs.exists(path):
            return False
        try:
            self.fs.pipe_file(path, content, mode="overwrite" if replace else "create")
        except FileExistsError:
            return False
        return replace or self._is_ours(path, content)

    def _is_ours(self, path: str, content: bytes) -> bool:
        """Whether a file that was just put ends as we wrote it: a part ends with what tells it from any other."""
        end = content[-READ_BACK_BYTES:]
        try:
            return bool(self.fs.cat_file(path, start=-len(end)) == end)
        except FileNotFoundError:  # somebody removed it since
            return True


def _written(path: str, content: bytes, replace: bool) -> bool:
    """Write to a temporary name, sync, then rename; a power cut leaves the old file or the new one."""
    temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    sync_directory(os.path.dirname(path))
    return True


def _make_directories(path: str) -> None:
    """Make them, and their names durable: a file in a directory that a power cut takes is lost with it."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        os.makedirs(each, exist_ok=True)
        sync_directory(os.path.dirname(each))


def sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _local_files(directory: str, ending: str) -> Iterator[TableFile]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.endswith(ending):
                continue
            try:
                found = entry.stat()
            except FileNotFoundError:  # deleted since
                continue
            yield TableFile(entry.name, local_stamp(found), int(found.st_mtime) // SECONDS_PER_H)


def local_stamp(found: os.stat_result) -> str:
    """A file is replaced by renaming another one over it: the inode tells where the clock is too coarse to."""
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def remote_file(info: Mapping[str, Any]) -> TableFile:
    """From what an object store lists; one that says neither when nor as which version tells nothing apart."""
    name = os.path.basename(info["name"].rstrip("/"))
    told = {field: info[field] for field in VERSION_FIELDS if info.get(field)}
    at = next((value for value in told.values() if isinstance(value, datetime)), _EPOCH)
    stamp = f"{info['size']}-{'-'.join(map(str, told.values()))}" if told else ""
    return TableFile(name, stamp, int(at.timestamp()) // SECONDS_PER_H)

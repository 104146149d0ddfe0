"""The file of a backup: a tar of the data, then `SHA256SUMS` of all of it, and last `manifest.json`.

    tar -xf BACKUP && sha256sum -c SHA256SUMS

checks it without this project. What does not end with a manifest was cut off, and is refused. Lists of files are
compared as they stream by: a validator of a year has millions.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import sqlite3
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from loosh_pipeline.backup.bounds import NAME_CHARS, Header, require_reserve, shortened
from loosh_pipeline.backup.places import HISTORY, INBOX, TABLES, USERS
from loosh_pipeline.errors import StoreError

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
COMPRESSED = (".gz", ".tgz")
GZIPPED = b"\x1f\x8b"
CHUNK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 8 * 1024 * 1024
OF_ITS_OWN_BYTES = 1024 * 1024
"""A manifest is far smaller: more is no manifest of ours."""
LOOK_AFTER_FILES = 10_000
LINE_BYTES = 64 + 2 + NAME_CHARS + 1
PART = r"/[A-Za-z0-9_~=-][A-Za-z0-9_~=.-]{0,254}"
SAFE = re.compile(
    rf"(?=.{{,{NAME_CHARS}}}\Z)({re.escape(INBOX)}|{re.escape(USERS)}"
    rf"|{TABLES}({PART}(?<!\.parquet))*{PART}(?<=\.parquet)|{HISTORY}({PART}(?<!\.db))*{PART}(?<=\.db))"
)
"""Names that are taken from an archive: no other directory can be meant by one of them, none is too long for a disk,
and none is a file by one name and a directory by another."""

Take = Callable[[str, Iterator[bytes]], None]
Said = Annotated[str, StringConstraints(max_length=200, pattern="^[ -~]*$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Manifest(BaseModel):
    """What a backup holds. `rows` by table of the databases; `tables`: files of each asset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: Said
    taken_at: AwareDatetime
    revisions: dict[Literal["validator.db", "users.db"], Said | None]
    """Schema revision of each database that is in it."""
    rows: dict[str, Count]
    tables: dict[str, Count]
    history: bool
    elsewhere: list[Said] = Field(max_length=10)
    """Parts that a server keeps, and that are therefore not in it."""
    files: Count
    size_bytes: Count
    """Of all files; the archive is somewhat larger, or smaller when it is compressed."""
    sums_sha256: str


@contextmanager
def writing_archive(file: IO[bytes], scratch: Path, *, compressed: bool) -> Iterator[ArchiveWriter]:
    """Write a backup to an open file. `scratch`: a directory for what does not fit into memory."""
    with ExitStack() as stack:
        sums = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(scratch)))
        to: Any = file
        if compressed:
            to = stack.enter_context(gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0))
        yield ArchiveWriter(stack.enter_context(tarfile.open(fileobj=to, mode="w|")), sums)


class ArchiveWriter:
    """Puts files into an open archive, and counts them."""

    def __init__(self, tar: tarfile.TarFile, sums: IO[bytes]) -> None:
        self._tar = tar
        self._sums = sums
        self._sums_sha256 = hashlib.sha256()
        self.files = 0
        self.size_bytes = 0

    def add(self, name: str, file: IO[bytes]) -> None:
        """Put in a file that nobody changes meanwhile; one that is replaced is taken as it was opened."""
        status = os.fstat(file.fileno())
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = status.st_size, 0o600, int(status.st_mtime)
        hashing = _Hashing(file)
        self._tar.addfile(info, hashing)
        _forget(self._tar)
        line = _sum_line(name, hashing.digest)
        self._sums.write(line)
        self._sums_sha256.update(line)
        self.files += 1
        self.size_bytes += status.st_size

    def finish(self, **about: Any) -> Manifest:
        """Put in the sums and the manifest. `about`: fields of it that are not counted here."""
        digest = self._sums_sha256.hexdigest()
        manifest = Manifest(files=self.files, size_bytes=self.size_bytes, sums_sha256=digest, **about)
        info = tarfile.TarInfo(SUMS)
        info.size, info.mode, info.mtime = self._sums.tell(), 0o600, int(manifest.taken_at.timestamp())
        self._sums.seek(0)
        self._tar.addfile(info, self._sums)
        content = json.dumps(manifest.model_dump(mode="json"), indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode, info.mtime = len(content), 0o600, int(manifest.taken_at.timestamp())
        self._tar.addfile(info, io.BytesIO(content))
        return manifest


def read_archive(path: Path, take: Take) -> Manifest:
    """Hand every file of a backup to `take`, and compare all of them with the sums.

    Until this has returned nothing of it is known to be right. Raises StoreError that says what is wrong with it.
    """
    try:
        with _opened(path) as tar, _seen_files() as seen:
            return _Reading(path, tar, *seen).read(take)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
        raise StoreError(_bad(path, shortened(error))) from error


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError(f"there is no backup {path}: it is no file")
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"there is no backup {path}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        zipped = file.peek(2)[:2] == GZIPPED
        with tarfile.open(fileobj=file, mode="r|gz" if zipped else "r|", tarinfo=Header) as tar:
            yield tar


@contextmanager
def _seen_files() -> Iterator[tuple[IO[bytes], sqlite3.Connection]]:
    """Lines of sums, and names, of what was read; both on the disk when there are many."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as sums, closing(sqlite3.connect("")) as names:
        names.execute("PRAGMA synchronous = OFF")
        names.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")
        yield sums, names


class _Reading:
    def __init__(self, path: Path, tar: tarfile.TarFile, seen: IO[bytes], names: sqlite3.Connection) -> None:
        self._path = path
        self._tar = tar
        self._seen = seen
        self._names = names
        self._files = 0
        self._sums_digest: str | None = None

    def read(self, take: Take) -> Manifest:
        while (info := self._tar.next()) is not None:
            _forget(self._tar)
            if info.name == MANIFEST:
                return self._manifest(info)
            if self._sums_digest is not None:
                raise self._wrong(f"{shortened(info.name)} stands behind the sums")
            if info.name == SUMS:
                self._compare(info)
            else:
                self._file(info, take)
        raise self._wrong("it has no manifest, so it was cut off")

    def _file(self, info: tarfile.TarInfo, take: Take) -> None:
        if not (info.isreg() and SAFE.fullmatch(info.name)):
            raise self._wrong(f"{shortened(info.name)} does not belong into one")
        try:
            self._names.execute("INSERT INTO names VALUES (?)", (info.name,))
        except sqlite3.IntegrityError as error:
            raise self._wrong(f"{shortened(info.name)} is in it twice") from error
        self._files += 1
        if self._files % LOOK_AFTER_FILES == 0:  # their names and sums are kept there
            require_reserve(tempfile.gettempdir())
        hashing = _Hashing(self._open(info))
        take(info.name, iter(lambda: hashing.read(CHUNK_BYTES), b""))
        if hashing.size != info.size:
            raise self._wrong(f"{shortened(info.name)} is cut off")
        self._seen.write(_sum_line(info.name, hashing.digest))

    def _compare(self, info: tarfile.TarInfo) -> None:
        digest = hashlib.sha256()
        self._seen.seek(0)
        sums = self._open(info)
        while stated := sums.readline(LINE_BYTES):
            digest.update(stated)
            if (found := self._seen.readline()) != stated:
                name = shortened(stated.decode("utf-8", "replace").partition("  ")[2].strip()) or SUMS
                raise self._wrong(f"{name} is not what was backed up" if found else f"{name} is missing")
        if self._seen.read(1):
            raise self._wrong("it holds files that its sums do not name")
        self._sums_digest = digest.hexdigest()

    def _manifest(self, info: tarfile.TarInfo) -> Manifest:
        content = self._open(info).read(OF_ITS_OWN_BYTES)
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = shortened(".".join(map(str, first["loc"])))
            raise self._wrong(f"its manifest is of another release: {where}: {first['msg']}") from error
        if manifest.sums_sha256 != self._sums_digest:
            raise self._wrong(f"{SUMS} is not what was backed up")
        return manifest

    def _open(self, info: tarfile.TarInfo) -> IO[bytes]:
        file = self._tar.extractfile(info)
        if file is None:
            raise self._wrong(f"{shortened(info.name)} is no file")
        return file

    def _wrong(self, what: str) -> StoreError:
        return StoreError(_bad(self._path, what))


class _Hashing:
    """Reads on, and knows the digest and the size of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._sha256.update(content)
        self.size += len(content)
        return content

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()


def _forget(tar: tarfile.TarFile) -> None:
    """What went through a stream is not wanted again, and would be remembered, file by file."""
    tar.members = []  # type: ignore[attr-defined]  # part of the class since ever, if not of its documentation


def _sum_line(name: str, digest: str) -> bytes:
    return f"{digest}  {name}\n".encode()


def _bad(path: Path, what: str) -> str:
    return f"{path} is no whole backup: {what}; nothing was changed, take another one"

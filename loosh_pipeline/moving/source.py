"""Opening the database of an existing validator, as a snapshot that neither changes it nor holds it up."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.wire.text import printable

MAGIC = b"SQLite format 3\0"
LOCKED_FOR_S = 60.0
"""How long a database is waited for that is being written all the time."""
OURS = frozenset({"challenges", "outbox", "alembic_version"})
THEIRS = frozenset(
    {
        *("miners", "evaluation_results", "inference_challenges", "inference_responses"),
        *("miner_scores", "sybil_detection_results", "users"),
    }
)
"""The tables of an existing validator's two databases."""
MOST_NAMED = 8
FULL = "database or disk is full"


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot of a database. `live`: it was written, or waited to be, while it was read; then `sha256` is of one
    moment of the file and not of the snapshot.
    """

    path: Path
    sha256: str
    size_bytes: int
    live: bool
    connection: sqlite3.Connection
    tables: frozenset[str]

    def has(self, table: str) -> bool:
        return table in self.tables

    def columns(self, table: str) -> frozenset[str]:
        """Names of a table's columns; empty when there is no such table."""
        found = self.connection.execute(f'PRAGMA table_info("{table}")')
        return frozenset(name for _, name, *_ in found)

    def count(self, table: str) -> int:
        """Rows of a table; 0 when there is none."""
        if not self.has(table):
            return 0
        count: int = self.connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        return count


@contextmanager
def snapshot(path: Path) -> Iterator[Source]:
    """A copy of a database as it was at one moment, in a temporary file that has no name and ends with this process.

    It is read in one go, for which its validator waits. Raises ConfigError for what is no database of an existing
    validator, StoreError for one that cannot be read.
    """
    _check_file(path)
    with closing(sqlite3.connect("", isolation_level=None)) as copy:
        copy.text_factory = lambda text: text.decode(errors="replace")  # one broken text must not hide the others
        before = _state(path)
        try:
            _copy(path, copy)
            tables = frozenset(name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        except sqlite3.Error as error:
            raise StoreError(_unreadable(path, error)) from error
        _check_tables(path, tables)
        sha256 = _sha256(path)
        live = _state(path) != before or _unsettled(path)
        yield Source(path, sha256, before[0], live, copy, tables)


def named(tables: Iterable[str]) -> str:
    """Some of the tables of a database."""
    return ", ".join(printable(each) for each in sorted(tables)[:MOST_NAMED]) or "none"


def _check_file(path: Path) -> None:
    if not path.is_file():
        said = "is a directory; name the file in it" if path.is_dir() else "does not exist"
        raise ConfigError(
            f"{path} {said}. An existing validator keeps it where its DB_PATH says, validator.db by default"
        )
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; run this as a user who may") from error
    if head != MAGIC:
        raise ConfigError(
            f"{path} is no SQLite database, or an encrypted one: it begins with {head!r}. Name the validator.db of an "
            "existing validator"
            if head
            else f"{path} is empty: nothing was ever written to it. Name the validator.db of an existing validator"
        )


def _check_tables(path: Path, tables: frozenset[str]) -> None:
    if tables >= OURS:
        raise ConfigError(
            f"{path} is the database of this program, not of an existing validator; there is nothing to convert. Start "
            "`loosh up` on its directory"
        )
    if not tables & THEIRS:
        raise ConfigError(
            f"{path} is the database of another program: its tables are {named(tables)}. Name the validator.db of an "
            "existing validator"
        )


def _copy(path: Path, copy: sqlite3.Connection) -> None:
    """Raises StoreError when it is locked all the time, sqlite3.Error when it cannot be read."""
    deadline_s = time.monotonic() + LOCKED_FOR_S

    def patience(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > deadline_s:
            raise StoreError(
                f"{path} was locked for {LOCKED_FOR_S:g} s; stop the validator that writes it, and try again"
            )

    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=LOCKED_FOR_S)) as source:
        # In one step: in several it would begin anew with every write of a validator that goes on.
        source.backup(copy, pages=-1, progress=patience, sleep=0.1)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _unsettled(path: Path) -> bool:
    """Whether something beside the file is still to go into it."""
    for suffix in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            if path.with_name(path.name + suffix).stat().st_size:
                return True
    return False


def _unreadable(path: Path, error: sqlite3.Error) -> str:
    if str(error) == FULL:
        size = _state(path)[0]
        return f"there is no room for a copy of {path} ({size:,} bytes); set SQLITE_TMPDIR to a directory with more"
    if _unsettled(path):
        return (
            f"{path} cannot be read as it is: {error}. Its validator was killed while writing: start and stop that "
            f"once, or run `sqlite3 {path} 'PRAGMA quick_check'`, as a user who may write beside it"
        )
    return (
        f"{path} cannot be read: {error}. If it is damaged, try `sqlite3 {path} .recover`, and import what that gives"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

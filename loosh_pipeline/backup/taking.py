"""Taking a backup, while the validator runs or not.

The databases come first, the tables after them: a table is written before the inbox moves on, so whatever the copied
inbox says is done, the tables that are read later hold. What they hold beyond it is kept where it was asked of
strangers, and computed again where it was ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path

from loosh_pipeline.backup.archive import COMPRESSED, SAFE, ArchiveWriter, Manifest, writing_archive
from loosh_pipeline.backup.places import HISTORY, INBOX, TABLES, USERS, Places
from loosh_pipeline.backup.swapping import put_where_nothing_is, sync_folder
from loosh_pipeline.chain.wallet import hotkey_of
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.closed import CLOSED, TRIES
from loosh_pipeline.store.tables import DAY, TableKey, Tables
from loosh_pipeline.store.window_cache import CACHE

NAME = "loosh-{version}-{whose}-{at:%Y%m%dT%H%M%SZ}.tar"
OURS = re.compile(r"loosh-[0-9A-Za-z.+!]+-(?P<whose>[0-9A-Za-z]+)-(?P<at>[0-9]{8}T[0-9]{6}Z)\.tar(\.gz)?")
"""What `keep_newest` may delete: names that `file_named` gave, compressed since or not."""
ENDINGS = (".tar", ".tar.gz", ".tgz")
ID_CHARS = 8
SCRATCH = ".loosh-backup-"
WAIT_S = 30.0
NOT_COPIED = {INBOX: ("sessions", "ingress_keys"), USERS: ()}
"""Tables whose rows stay out: keys, of sessions too, which peers agree on anew."""
LEFT_AFTER_S = 3600
"""Age at which what a killed backup left is told from what one is writing."""


class NothingYet(StoreError):
    """There is no data to back up."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was taken. `skipped`: files that could not be taken, and why; `missing`: tables that were there
    when it began, and are nowhere now.
    """

    path: Path
    size_bytes: int
    manifest: Manifest
    skipped: tuple[str, ...]
    missing: tuple[str, ...] = ()


def require_data(places: Places) -> None:
    """Raises NothingYet, and OSError where this user may not see whether there is something."""
    try:
        if places.inbox is not None:
            os.stat(places.inbox)
    except (FileNotFoundError, NotADirectoryError) as error:
        said = f"there is nothing to back up in {places.home}: no {places.inbox}; was LOOSH_HOME meant?"
        raise NothingYet(said) from error


def short_id(settings: Settings) -> str:
    """Tells backups of several validators in one directory apart: the beginning of the hotkey, or, where the wallet
    cannot be read, of the digest of the data directory's path."""
    hotkey = hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    return (hotkey or hashlib.sha256(os.fsencode(settings.home.resolve())).hexdigest())[:ID_CHARS]


def file_named(where: Path, now: datetime, whose: str) -> Path:
    """The file that is meant: `where` itself, or in the directory that it is, a name with validator and time (UTC).

    Raises ConfigError for a directory that is not there, which would else become a file of that name.
    """
    if os.path.isdir(where):
        return where / NAME.format(version=version("loosh-pipeline"), whose=whose, at=now)
    if where.name.endswith(ENDINGS):
        return where
    raise ConfigError(
        f"there is no directory {where}; make it, mount it, or name a file that ends in {', '.join(ENDINGS)}"
    )


def keep_newest(taken: Path, count: int, whose: str) -> list[Path]:
    """Delete all but the newest backups of this validator, by the times in their names, from the directory of one that
    was just taken, which stays; returns those. Files of other names or validators are left alone."""
    with os.scandir(taken.parent) as entries:
        names = [each.name for each in entries if each.is_file(follow_symlinks=False) and each.name != taken.name]
    ours = [(found["at"], name) for name in names if (found := OURS.fullmatch(name)) and found["whose"] == whose]
    old = [taken.parent / name for _, name in sorted(ours, reverse=True)[count - 1 :]]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def take_backup(places: Places, target: Path, now: datetime, *, with_history: bool = False) -> Taken:
    """Write a backup to `target`, which appears whole or not at all, readable by its owner only.

    Raises NothingYet, and StoreError when there is no room, `target` exists, or a database is damaged.
    """
    require_data(places)
    if os.path.lexists(target):
        raise StoreError(_taken_name(target))
    try:
        _require_room(places, target.parent, with_history)
        with _scratch(target.parent) as scratch:
            taking = _Taking(places, scratch, with_history)
            manifest, size_bytes = _written(taking, scratch / "archive", target.name.endswith(COMPRESSED), now)
            put_where_nothing_is(scratch / "archive", target)
            sync_folder(target.parent)
    except FileExistsError as error:
        raise StoreError(_taken_name(target)) from error
    except sqlite3.Error as error:
        raise StoreError(f"a database could not be copied: {error}; nothing was written to {target}") from error
    except OSError as error:
        raise StoreError(f"{target} could not be written: {error.strerror} ({error.filename or target})") from error
    return Taken(target, size_bytes, manifest, tuple(taking.skipped), tuple(taking.missing))


def _taken_name(target: Path) -> str:
    return f"{target} exists, and a backup replaces nothing; name another file, or a directory"


def _written(taking: _Taking, path: Path, compressed: bool, now: datetime) -> tuple[Manifest, int]:
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        with writing_archive(file, path.parent, compressed=compressed) as archive:
            manifest = taking.fill(archive, now)
        file.flush()
        os.fsync(file.fileno())
        return manifest, file.tell()


class _Taking:
    """Fills an archive, and counts what goes in."""

    def __init__(self, places: Places, scratch: Path, with_history: bool) -> None:
        self._places = places
        self._scratch = scratch
        self._with_history = with_history
        self._revisions: dict[str, str | None] = {}
        self._rows: dict[str, int] = {}
        self.skipped: list[str] = []
        self.missing: list[str] = []

    def fill(self, archive: ArchiveWriter, now: datetime) -> Manifest:
        for name, path in ((INBOX, self._places.inbox), (USERS, self._places.users)):
            if path is not None and path.exists():
                self._database(archive, name, path)
        tables = Counter(self._tables(archive))
        if self._with_history:
            for path in _databases(self._places.history):
                self._run_history(archive, path)
        return archive.finish(
            version=version("loosh-pipeline"),
            taken_at=now,
            revisions=self._revisions,
            rows=self._rows,
            tables=dict(sorted(tables.items())),
            history=self._with_history,
            elsewhere=elsewhere(self._places),
        )

    def _database(self, archive: ArchiveWriter, name: str, source: Path) -> None:
        copy = self._scratch / "copy.db"
        with _copied(source, copy) as connection:
            if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreError(f"{source} is damaged: {' '.join(said.split())}; restore an earlier backup")
            present = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            connection.execute("PRAGMA secure_delete = ON")
            for table in NOT_COPIED[name]:
                if table in present:
                    connection.execute(f"DELETE FROM {table}")
            connection.commit()
            for table in present:
                self._rows[table] = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
            self._revisions[name] = _revision(connection, present)
            self._rows.pop("alembic_version", None)
        with copy.open("rb") as file:
            archive.add(name, file)
        copy.unlink()

    def _tables(self, archive: ArchiveWriter) -> Iterator[str]:
        root = self._places.tables
        if root is None:
            return
        for asset in _assets(root):
            gone = []
            for path in _apart(asset):
                if self._table(archive, root, path):
                    yield asset.name
                else:
                    gone.append(path)
            # Parts come last, as they are now: what moved into one meanwhile is in it.
            for day in _closed_days(asset):
                for _ in range(self._parts(archive, root, day)):
                    yield asset.name
            self.missing += [f"{path}: it was removed meanwhile" for path in gone if not _is_there(root, path)]

    def _table(self, archive: ArchiveWriter, root: Path, path: Path) -> bool:
        """Whether a file was still there. One that is none of ours is passed over."""
        name = f"{TABLES}/{path.relative_to(root).as_posix()}"
        if not SAFE.fullmatch(name):
            self.skipped.append(f"{path}: no table has such a name")
            return True
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            archive.add(name, file)
        return True

    def _parts(self, archive: ArchiveWriter, root: Path, day: Path) -> int:
        """How many parts of a day were taken. Where one is gone, a later one holds what it held: we look again."""
        taken = set[Path]()
        for _ in range(TRIES):
            there = {path for path in _tables_in(day) if path not in taken}
            found = {path for path in sorted(there) if self._table(archive, root, path)}
            taken |= found
            if found == there:
                return len(taken)
        self.missing.append(f"{day}: its parts were replaced at each of {TRIES} looks")
        return len(taken)

    def _run_history(self, archive: ArchiveWriter, path: Path) -> None:
        copy = self._scratch / "copy.db"
        name = path.relative_to(self._places.history).as_posix()
        if not SAFE.fullmatch(f"{HISTORY}/{name}"):
            self.skipped.append(f"{name}: no run has such a name")
            return
        try:
            with _copied(path, copy):
                pass
        except sqlite3.Error as error:
            self.skipped.append(f"{name}: {error}")
        else:
            with copy.open("rb") as file:
                archive.add(f"{HISTORY}/{name}", file)
        finally:
            copy.unlink(missing_ok=True)


def elsewhere(places: Places) -> list[str]:
    """What a server keeps, and how it is backed up there."""
    found = []
    if places.inbox is None:
        found.append(f"{INBOX}: DATABASE_URL names a server; dump it with pg_dump")
    if places.users is None:
        found.append(f"{USERS}: they are in DATABASE_URL, and dumped with it")
    if places.tables is None:
        found.append(f"{TABLES}: TABLES_DIR names an object store; use its versioning or replication")
    return found


@contextmanager
def _copied(source: Path, copy: Path) -> Iterator[sqlite3.Connection]:
    """An open copy, consistent whoever writes to the source meanwhile; one file once the block ends."""
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    uri = f"{source.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(copy)) as new:
        with closing(sqlite3.connect(uri, uri=True, timeout=WAIT_S)) as old:
            old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")
        yield new


def _revision(connection: sqlite3.Connection, present: Sequence[str]) -> str | None:
    if "alembic_version" not in present:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _assets(root: Path) -> list[Path]:
    """Where tables lie, but those that are made again when they are missing."""
    return sorted(each for each in root.iterdir() if each.is_dir() and each.name != CACHE) if root.is_dir() else []


def _apart(asset: Path) -> Iterator[Path]:
    """An asset's tables that lie as they were written, but files that are just being written."""
    for folder, folders, files in os.walk(asset, followlinks=True):
        folders[:] = sorted(name for name in folders if not CLOSED.fullmatch(name))
        yield from (Path(folder, name) for name in sorted(files) if _is_table(name))


def _closed_days(asset: Path) -> list[Path]:
    """Where an asset's parts lie."""
    return sorted(each for each in asset.iterdir() if CLOSED.fullmatch(each.name))


def _tables_in(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):  # a day that was just deleted
        return [each for each in folder.iterdir() if _is_table(each.name)]
    return []


def _is_there(root: Path, path: Path) -> bool:
    """Whether a table of which the file is gone is in a part, or was written again."""
    day = DAY.fullmatch(path.parent.name)
    key = day and TableKey.named(date.fromisoformat(day[1]), path.name)
    return key is not None and Tables(str(root)).exists(path.parent.parent.name, key)


def _is_table(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith(".")


def _databases(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*.db")) if not path.name.startswith("."))


def _require_room(places: Places, folder: Path, with_history: bool) -> None:
    """Databases are copied once before they are put into the archive."""
    databases = [path for path in (places.inbox, places.users) if path is not None]
    history = sum(map(_size, _databases(places.history))) if with_history else 0
    tables = 0
    for asset in _assets(places.tables) if places.tables is not None else ():
        tables += sum(map(_size, _apart(asset)))
        tables += sum(_size(path) for day in _closed_days(asset) for path in _tables_in(day))
    needed = 2 * sum(map(_size, databases)) + history + tables
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"a backup needs {megabytes(needed)} in {folder}, where {megabytes(free)} are free; make room there, or "
            "name a place on another disk"
        )


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _size(path: Path) -> int:
    """With what its log holds."""
    size = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        with suppress(FileNotFoundError):
            size += each.stat().st_size
    return size


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A private directory beside the backup; those that killed processes left are removed first."""
    for left in folder.glob(f"{SCRATCH}*"):
        with suppress(FileNotFoundError, PermissionError):  # another one did, or may
            if max(path.stat().st_mtime for path in (left, *left.iterdir())) < time.time() - LEFT_AFTER_S:
                shutil.rmtree(left)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)

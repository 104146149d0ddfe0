"""Putting a backup back: everything is written beside the data directory and checked, then the two change places."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loosh_pipeline.backup.archive import Manifest, read_archive
from loosh_pipeline.backup.bounds import shortened
from loosh_pipeline.backup.places import HISTORY, INBOX, TABLES, USERS, Places
from loosh_pipeline.backup.swapping import put_in_place
from loosh_pipeline.backup.taking import megabytes
from loosh_pipeline.backup.writing import Owner, Writer, carry_over, give, opened
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.lock import FILE as LOCK_FILE
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.store.foreign import Schema, require_known_revision

REPLACED = {LOCK_FILE, INBOX, USERS, TABLES, HISTORY, "heatmaps", "celery", "chain", "clock", "logs", "processes.json"}
"""Names in a data directory that belong to the data, and stay with it. Anything else, such as models or wallets, is
the machine's, and is in the restored directory too."""
UNFINISHED = ".unfinished"
"""Lies in a directory that is being restored until it is in its place: what a killed restore left may be removed."""
SCHEMA_OF: dict[str, Schema] = {INBOX: "inbox", USERS: "users"}

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Restored:
    """`aside`: where the data that was there lies now."""

    home: Path
    manifest: Manifest
    aside: Path | None


def check_backup(archive: Path) -> Manifest:
    """Read a backup to its end. Raises StoreError when it is not whole, or its data are newer than this release."""

    def take(_name: str, chunks: Iterator[bytes]) -> None:
        for _ in chunks:
            pass

    try:
        manifest = read_archive(archive, take)
    except OSError as error:
        where = shortened(archive if error.filename is None else error.filename)
        raise StoreError(f"{archive} could not be read to its end: {error.strerror} ({where})") from error
    _require_known(manifest)
    return manifest


def restore_backup(archive: Path, places: Places, now: datetime, *, force: bool, say: Say) -> Restored:
    """Make the data directory that of a backup. Until the last moment nothing that is there is touched.

    Raises StoreError as `check_backup`, ServiceError when a validator runs there, and ConfigError when there
    are data already and not `force`. With `force` they are moved aside.
    """
    inside = places.inside()
    home = places.home.resolve()
    if not os.path.isfile(archive):
        raise StoreError(f"there is no backup {archive}")
    if os.path.ismount(home):
        raise ConfigError(
            f"{home} is a mount point, and cannot change places with another directory; set LOOSH_HOME to a directory "
            "in it, or restore with `--into` such a one and move its content"
        )
    with _made_if_missing(home, say), _lock(home, say):
        (home / UNFINISHED).unlink(missing_ok=True)  # of a restore that was killed when all but this was done
        present = [path.name for path in home.iterdir() if path.name != LOCK_FILE]
        if present and not force:
            raise ConfigError(
                f"{home} is not empty ({', '.join(map(shortened, sorted(present)[:5]))}); restore with --force, which "
                "moves what is there aside, or into another LOOSH_HOME"
            )
        try:
            manifest, aside = _restored(archive, home, inside, now)
        except OSError as error:
            where = shortened(home if error.filename is None else error.filename)
            raise StoreError(f"{home} was left as it is: {error.strerror} ({where})") from error
    if not present:
        shutil.rmtree(aside)
        return Restored(home, manifest, None)
    return Restored(home, manifest, aside)


@contextmanager
def _made_if_missing(home: Path, say: Say) -> Iterator[None]:
    """A data directory of the owner of the one that it is made in; it goes again when nothing comes of it."""
    missing = [path for path in (home, *home.parents) if not os.path.lexists(path)]
    above = missing[-1].parent if missing else home
    if missing:
        _make(missing, above)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # somebody put something there
                path.rmdir()
        raise
    if missing and os.geteuid() == 0:
        owner = _name_of(home.stat().st_uid)
        say(f"{home} belongs to {owner}, as {above} does; `chown -R USER: {home}` gives it to another user")


@contextmanager
def _lock(home: Path, say: Say) -> Iterator[None]:
    """Hold the data directory; the file of the lock goes again when it was made for this and nothing comes of it."""
    there = os.path.lexists(home / LOCK_FILE)
    with validator_lock(home, say):
        try:
            yield
        except BaseException:
            if not there:
                (home / LOCK_FILE).unlink(missing_ok=True)
            raise


def _make(missing: Sequence[Path], above: Path) -> None:
    try:
        owner = Owner.of(above.stat())
        for path in reversed(missing):
            path.mkdir()
            with opened(path) as descriptor:
                give(descriptor, owner)
    except OSError as error:
        raise ConfigError(f"{missing[0]} cannot be made: {error.strerror} ({error.filename})") from error


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _restored(archive: Path, home: Path, inside: Mapping[str, Path], now: datetime) -> tuple[Manifest, Path]:
    aside = home.with_name(f"{home.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    if aside.exists():
        raise StoreError(f"{aside} exists already; wait a second")
    with _staging(home, archive) as new:
        with opened(new) as root, opened(home) as old:
            status = os.fstat(old)
            manifest = read_archive(archive, Writer(root, inside, Owner.of(status)).take)
            _require_known(manifest)
            carry_over(old, root, _of_the_data(inside))
            os.fchmod(root, status.st_mode & 0o777)
            give(root, Owner.of(status))  # last: until now only we reach what is in it
        os.sync()
        put_in_place(new, home, aside)
        (home / UNFINISHED).unlink()
    return manifest, aside


@contextmanager
def _staging(home: Path, archive: Path) -> Iterator[Path]:
    """A directory beside the data directory; whatever is still in it at the end is removed."""
    prefix = f".{home.name}.restoring-"
    for left in home.parent.glob(f"{prefix}*"):
        # Only one restore at a time holds the data directory.
        if (left / UNFINISHED).exists() or not any(left.iterdir()):
            shutil.rmtree(left)
    free, needed = shutil.disk_usage(home.parent).free, archive.stat().st_size
    if needed > free:
        raise StoreError(f"restoring needs {megabytes(needed)} in {home.parent}, where {megabytes(free)} are free")
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=home.parent))
    try:
        (new / UNFINISHED).touch()
        yield new
    finally:
        if (new / UNFINISHED).exists():
            shutil.rmtree(new)


def _of_the_data(inside: Mapping[str, Path]) -> frozenset[str]:
    """Names in a data directory that are of the data, with the files that SQLite puts beside databases."""
    databases = [inside[name].parts[0] for name in (INBOX, USERS)]
    beside = {f"{name}{ending}" for name in databases for ending in ("-wal", "-shm", "-journal")}
    return frozenset(REPLACED | {path.parts[0] for path in inside.values()} | beside)


def _require_known(manifest: Manifest) -> None:
    for name, revision in manifest.revisions.items():
        if revision is not None:
            require_known_revision(SCHEMA_OF[name], revision, f"{name} of the backup, taken by {manifest.version},")

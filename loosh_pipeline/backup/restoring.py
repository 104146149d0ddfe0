"""Putting a backup back: everything is written beside the data directory and checked, then the two change places."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from loosh_pipeline.backup.archive import Manifest, read_archive
from loosh_pipeline.backup.places import HISTORY, INBOX, TABLES, USERS, Places
from loosh_pipeline.backup.swapping import put_in_place
from loosh_pipeline.backup.taking import megabytes
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

    manifest = read_archive(archive, take)
    _require_known(manifest)
    return manifest


def restore_backup(archive: Path, places: Places, now: datetime, *, force: bool, say: Say) -> Restored:
    """Make the data directory that of a backup. Until the last moment nothing that is there is touched.

    Raises StoreError as `check_backup`, ServiceError when a validator runs there, and ConfigError when there
    are data already and not `force`. With `force` they are moved aside.
    """
    inside = places.inside()
    home = places.home.resolve()
    if not archive.is_file():
        raise StoreError(f"there is no backup {archive}")
    if os.path.ismount(home):
        raise ConfigError(
            f"{home} is a mount point, and cannot change places with another directory; set LOOSH_HOME to a directory "
            "in it, or restore with `--into` such a one and move its content"
        )
    with validator_lock(home, say):
        (home / UNFINISHED).unlink(missing_ok=True)  # of a restore that was killed when all but this was done
        present = [path.name for path in home.iterdir() if path.name != LOCK_FILE]
        if present and not force:
            raise ConfigError(
                f"{home} is not empty ({', '.join(sorted(present)[:5])}); restore with --force, which moves what is "
                "there aside, or into another LOOSH_HOME"
            )
        try:
            manifest, aside = _restored(archive, home, inside, now)
        except OSError as error:
            raise StoreError(f"{home} was left as it is: {error.strerror} ({error.filename or home})") from error
    if not present:
        shutil.rmtree(aside)
        return Restored(home, manifest, None)
    return Restored(home, manifest, aside)


def _restored(archive: Path, home: Path, inside: Mapping[str, Path], now: datetime) -> tuple[Manifest, Path]:
    aside = home.with_name(f"{home.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    if aside.exists():
        raise StoreError(f"{aside} exists already; wait a second")
    with _staging(home, archive) as new:
        manifest = read_archive(archive, _Writer(new, inside).take)
        _require_known(manifest)
        _carry_over(home, new, inside)
        _give_to_owner_of(home, new)
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
        new.chmod(home.stat().st_mode & 0o777)
        yield new
    finally:
        if (new / UNFINISHED).exists():
            shutil.rmtree(new)


class _Writer:
    """Writes the files of an archive to where each belongs in a new data directory."""

    def __init__(self, root: Path, inside: Mapping[str, Path]) -> None:
        self._root = root
        self._inside = inside

    def take(self, name: str, chunks: Iterator[bytes]) -> None:
        part, *rest = PurePosixPath(name).parts
        path = self._root.joinpath(self._inside[part], *rest)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o644 if part == TABLES else 0o600
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode), "wb") as file:
            for chunk in chunks:
                file.write(chunk)


def _carry_over(home: Path, new: Path, inside: Mapping[str, Path]) -> None:
    """What is in a data directory and no part of the data, as further names of the same files."""
    replaced = REPLACED | {path.parts[0] for path in inside.values()}
    databases = tuple(inside[name].parts[0] for name in (INBOX, USERS))  # and the files that SQLite puts beside them
    for path in home.iterdir():
        if path.name in replaced or path.name.startswith(databases):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=os.link)
        else:
            os.link(path, new / path.name, follow_symlinks=False)


def _give_to_owner_of(home: Path, new: Path) -> None:
    """Root restores for the user whose validator it is."""
    owner = home.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for folder, _, files in os.walk(new):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _require_known(manifest: Manifest) -> None:
    for name, revision in manifest.revisions.items():
        if revision is not None:
            require_known_revision(SCHEMA_OF[name], revision, f"{name} of the backup, taken by {manifest.version},")

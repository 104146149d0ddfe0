"""Where things are kept: whether it can be written, and how much room there is."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from loosh_pipeline.compute import min_compute
from loosh_pipeline.doctor.finding import Finding, look, ok, wrong
from loosh_pipeline.owners import barrier, when_denied
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import DRAWS, EMBEDDER, KEEPS

GB = 1e9
FULL_BELOW_GB = 1.0
"""Less than that is gone within hours, and a full disk stops intake."""
INODES_BELOW = 20_000
"""A challenge makes some ten files."""
TRIED_BYTES = 64 * 1024
Fault = tuple[str, str]
"""What is wrong with a directory, and what to do."""
FULL: Fault = (
    "is full",
    "free space there (docs/operating/retention.md says what grows), or move it; nothing accepted is lost",
)


def disks(settings: Settings) -> Iterator[Finding]:
    """A line for each file system that holds something, and one for each directory that cannot be written."""
    tried = _tried(settings)
    yield from _unwritable(tried)
    seen: set[int] = set()
    for setting, place in places(settings).items():
        there = barrier(place)
        if tried[there][1] is None and (device := there.stat().st_dev) not in seen:
            seen.add(device)
            yield room(setting, there)


def unwritable_places(settings: Settings) -> Iterator[Finding]:
    """Directories that take no file: with one of them nothing can be started. Little room is no such obstacle."""
    return _unwritable(_tried(settings))


def _tried(settings: Settings) -> Mapping[Path, tuple[str, Fault | None]]:
    """Directories that were written to, with the setting and what is wrong with each.

    Of a place that is not there yet, the directory counts in which it would be made.
    """
    tried: dict[Path, tuple[str, Fault | None]] = {}
    for setting, place in places(settings).items():
        if (there := barrier(place)) not in tried:
            tried[there] = setting, not_writable(there, place)
    return tried


def _unwritable(tried: Mapping[Path, tuple[str, Fault | None]]) -> Iterator[Finding]:
    """A full disk is one finding, whatever lies on it."""
    alike: dict[tuple[int | Path, Fault], list[tuple[str, Path]]] = {}
    for there, (setting, why) in tried.items():
        if why is not None:
            of = there.stat().st_dev if why == FULL else there
            alike.setdefault((of, why), []).append((setting, there))
    for (_, (said, todo)), those in alike.items():
        settings = ", ".join(setting for setting, _ in those)
        yield wrong("disk", f"{those[0][1]} ({settings}) {said}", todo)


def places(settings: Settings) -> Mapping[str, Path]:
    """Directories on this machine, by the setting that names each, of what runs here."""
    found = {"LOOSH_HOME": settings.home}
    if settings.runs_here(*DRAWS):
        found["HEATMAPS_DIR"] = settings.heatmaps_root
    if settings.runs_here(EMBEDDER):
        found["MODELS_DIR"] = settings.models_root
    if "://" not in settings.tables_root and settings.runs_here(*KEEPS):
        found["TABLES_DIR"] = Path(settings.tables_root)
    if settings.database_url is None and settings.db_path is not None:
        found["DB_PATH"] = settings.db_path.parent
    if settings.users_db_path is not None:
        found["USERS_DB_PATH"] = settings.users_db_path.parent
    return {name: path.expanduser().absolute() for name, path in found.items()}


def not_writable(directory: Path, place: Path) -> Fault | None:
    """Why a directory takes no file, and what to do; found out with a file that has no name and is gone at once.

    `place`: what is to be in it, or itself.
    """
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * TRIED_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except NotADirectoryError:
        return "is no directory", "remove the file in its place, or set another path"
    except OSError as error:
        return _why(error, place)
    return None


def _why(error: OSError, place: Path) -> Fault:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    if error.errno == errno.EROFS:
        return "is on a read-only file system", "look into the kernel's log (`dmesg`); repair and remount it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be written by this user", when_denied(place)
    return f"cannot be written: {error.strerror}", "see that its disk is there, or set another path"


def room(setting: str, place: Path) -> Finding:
    """How much is free where a place is, beside what a validator needs."""
    numbers, compute = os.statvfs(place), min_compute()
    free_gb = numbers.f_bavail * numbers.f_frsize / GB
    said = f"{free_gb:.1f} GB free at {place} ({setting})"
    if numbers.f_files and numbers.f_favail < INODES_BELOW:
        return wrong(
            "disk", f"{numbers.f_favail} files more fit at {place} ({setting})", "free inodes: delete files there"
        )
    if free_gb < FULL_BELOW_GB:
        return wrong("disk", said, "free space there before intake stops (docs/operating/retention.md says what grows)")
    least = compute.validator.storage.min_space
    if free_gb < least:
        enough = f"enough for some {free_gb * 1000 / compute.validator_storage.mb_per_challenge:,.0f} challenges"
        todo = f"watch it, or set {setting} to a larger disk"
        return look("disk", f"{said}, {enough}; {least:g} GB at least are asked for", todo)
    return ok("disk", said)

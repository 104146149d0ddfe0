"""Dagster's file of each run on SQLite: deleting those of runs that go, and what nobody has a record of."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dagster import __version__ as dagster_version
from dagster._core.storage.event_log import SqliteEventLogStorage

SUFFIXES = ("", "-wal", "-shm")
PARTS = (".db", ".db-wal", ".db-shm")
INDEX = "index"
CHUNK = 500
TEMPLATE = ".empty-run-"
BROKEN = ".broken-"


class KnowsRuns(Protocol):
    """Says of which runs there is a record."""

    def known(self, run_ids: Sequence[str]) -> set[str]: ...


def delete_run_files(storage: SqliteEventLogStorage, run_ids: Sequence[str]) -> None:
    """Delete the events of runs. Who has a file open goes on reading it, and finds none the next time."""
    for run_id in run_ids:
        path = storage.path_for_shard(run_id)
        for suffix in SUFFIXES[::-1]:  # the file last: without it nobody would come back for its log
            with suppress(FileNotFoundError):
                os.unlink(f"{path}{suffix}")


def orphans(folder: Path, history: KnowsRuns, older_than_s: float, chunk: int = CHUNK) -> Iterator[list[str]]:
    """Runs that have files and no record, some at a time: somebody looked at one that was just deleted.

    One that is younger than that is left alone: its record may be about to appear.
    """
    before = time.time() - older_than_s
    ids = sorted({run_id for each in os.scandir(folder) if (run_id := _run_of(each, before))})
    for at in range(0, len(ids), chunk):
        part = ids[at : at + chunk]
        there = history.known(part)
        yield [run_id for run_id in part if run_id not in there]


def _run_of(entry: os.DirEntry[str], before: float) -> str | None:
    """The run that a file is of; None for any other file, and for one that was written lately."""
    end = next((end for end in PARTS if entry.name.endswith(end)), None)
    if end is None or entry.name.startswith("."):
        return None
    run_id = entry.name.removesuffix(end)
    with suppress(FileNotFoundError):
        return run_id if run_id != INDEX and entry.stat().st_mtime < before else None
    return None


def left_over(folder: Path, older_than_s: float) -> Iterator[Path]:
    """Prepared files of other versions of Dagster, and files that were set aside as broken longer ago than that."""
    before = time.time() - older_than_s
    for path in folder.glob(".*"):
        old = path.name.startswith(BROKEN) and path.stat().st_mtime < before
        if old or (path.name.startswith(TEMPLATE) and path.name != f"{TEMPLATE}{dagster_version}"):
            yield path

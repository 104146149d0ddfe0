"""`loosh import-validator`: take over what can be joined, and say what cannot.

Safe to repeat and to interrupt: rows are only added, each batch is there whole or not at all, and what is there already
is known by its key. A running `loosh up` sees them at its next proposal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.moving.reading import EVALUATIONS, Skipped, evaluations, users
from loosh_pipeline.moving.source import Source, named, snapshot
from loosh_pipeline.policy.handover import is_over
from loosh_pipeline.policy.inputs import Imported
from loosh_pipeline.store.imported import Kept, first_imported_at, imported_at, keep
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.users import Users
from loosh_pipeline.store.weighing import last_vector
from loosh_pipeline.wire.text import printable

SCORE_CACHE = "sybil_score_cache.json"
MAX_SCORE_CACHE_BYTES = 64 * 1024 * 1024
NOT_KEPT: Mapping[str, str] = {
    "miners": "who is registered is read from the chain, and who is there is looked for anew; last_success is of a "
    "probe of /availability, which says nothing about answers",
    "inference_responses": "answers cannot be joined to an evaluation (its challenge_id is a hash that changed with "
    "every start), and the prompts were never stored, so nothing can be scored again",
    "inference_challenges": "the existing validator never writes it",
    "miner_scores": "the existing validator never writes it",
    "sybil_detection_results": "reports that were not sent yet, under hashes for ids; copying is measured anew here",
}
"""Why a table is not taken over."""


@dataclass
class Report:
    """What an import found, kept and left. Times are of the evaluations that could be used."""

    database: str
    sha256: str
    size_bytes: int
    live: bool
    dry_run: bool
    evaluations: int = 0
    kept: Kept = field(default_factory=Kept)
    hotkeys: set[str] = field(default_factory=set)
    since: datetime | None = None
    until: datetime | None = None
    users_database: str | None = None
    users_read: int = 0
    users_new: int = 0
    users_full: int = 0
    skipped: Skipped = field(default_factory=Skipped)
    left: dict[str, int] = field(default_factory=dict)
    """Rows of tables that are not taken over."""
    scores: str | None = None
    """What lies in the file of sybil scores; None where there is none."""
    found: Imported | None = None
    """What the longest lookback of weights finds of this and earlier imports; of a dry run, of what it read alone."""
    over: bool = False
    """Whether own rounds have made weights since the first import."""

    @property
    def usable(self) -> int:
        """Emissions that could be kept, new or known."""
        return self.kept.new + self.kept.known


@dataclass(frozen=True, slots=True)
class Places:
    """Where this validator keeps things."""

    tables_root: str
    users_url: str


def import_validator(
    database: Path,
    users_database: Path | None,
    places: Places,
    now: datetime,
    *,
    dry_run: bool = False,
    longest_h: float = 168.0,
) -> Report:
    """Read a database, and the users beside it or in `users_database`; a dry run writes nothing. `longest_h`: the
    longest lookback of weights.

    Raises ConfigError for files that are not an existing validator's, StoreError for what cannot be read or written:
    what was kept until then stays, and the next import goes on from there.
    """
    beside = database.with_name("users.db")
    users_database = users_database or (beside if beside.is_file() else None)
    with snapshot(database) as source:
        if not source.has(EVALUATIONS) and not source.has("miners"):
            raise ConfigError(
                f"{database} has no evaluations: its tables are {named(source.tables)}. Name validator.db, "
                "and users.db with --users"
            )
        report = Report(str(database), source.sha256, source.size_bytes, source.live, dry_run)
        with _written_to(places, dry_run) as tables:
            there = _tables(places) if dry_run else tables
            _take_evaluations(source, tables, there, now, report)
            _look_back(tables, there, now, longest_h, report)
        report.left = {table: count for table in NOT_KEPT if (count := source.count(table))}
    report.scores = _scores(database.with_name(SCORE_CACHE))
    if users_database is not None:
        with snapshot(users_database) as source:
            _take_users(source, places, now, report)
    return report


@contextmanager
def _written_to(places: Places, dry_run: bool) -> Iterator[Tables]:
    """A dry run keeps what it reads in a temporary place, to tell by the same code what would be made of it."""
    if not dry_run:
        yield Tables(places.tables_root)
        return
    with TemporaryDirectory(prefix="loosh-import-") as directory:
        yield Tables(directory)


def _look_back(tables: Tables, there: Tables | None, now: datetime, longest_h: float, report: Report) -> None:
    """What is in it for weights. `there`: where this validator keeps things, if it does."""
    report.found = imported_at(tables, now, longest_h)
    first = None if there is None else first_imported_at(there, now, longest_h)
    if there is not None and first is not None:
        report.over = is_over(first, last_vector(there, own_since=first))


def _take_evaluations(source: Source, tables: Tables, there: Tables | None, now: datetime, report: Report) -> None:
    try:
        for part in evaluations(source, now, report.skipped):
            report.kept += keep(there, part, write=not report.dry_run)
            if report.dry_run:
                keep(tables, part)
            report.evaluations += part["evaluation_id"].n_unique()
            report.hotkeys |= set(part["hotkey"].unique())
            _widen(report, part)
    except sqlite3.Error as error:
        kept = f"{report.kept.new} emissions were kept before that" if report.kept.new else "nothing was kept"
        raise StoreError(
            f"{source.path} is damaged: {error}; {kept}. Try `sqlite3 {source.path} .recover`, and import what that "
            "gives"
        ) from error


def _tables(places: Places) -> Tables | None:
    """None where there is no place yet: a dry run is to make none."""
    root = places.tables_root
    return None if "://" not in root and not Path(root).is_dir() else Tables(root)


def _widen(report: Report, part: pl.DataFrame) -> None:
    if not part.is_empty():
        first, last = part["evaluated_at"].min(), part["evaluated_at"].max()
        times = [each for each in (report.since, report.until, first, last) if isinstance(each, datetime)]
        report.since, report.until = min(times), max(times)


def _take_users(source: Source, places: Places, now: datetime, report: Report) -> None:
    report.users_database = str(source.path)
    if not source.has("users"):
        raise ConfigError(f"{source.path} has no table users; it has {named(source.tables)}")

    def counted() -> Iterator[tuple[Hotkey, datetime, datetime]]:
        for user in users(source, now, report.skipped):
            report.users_read += 1
            yield user

    try:
        if report.dry_run:
            for _ in counted():
                continue
        else:
            with closing(Users.open(places.users_url)) as kept:
                report.users_new, report.users_full = kept.take_over(counted())
    except sqlite3.Error as error:
        raise StoreError(
            f"{source.path} is damaged: {error}; {report.users_read} users were read before that"
        ) from error


def _scores(path: Path) -> str | None:
    """What is in the side file, for the report: the Challenge API tells the scores anew within minutes."""
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_SCORE_CACHE_BYTES:
        return f"{path.stat().st_size:,} bytes, which were not read"
    try:
        found: Any = json.loads(path.read_bytes())
        return f"{len(found['scores'])} scores, saved {printable(str(found.get('saved_at', 'at an unknown time')))}"
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, OSError) as error:
        return f"it cannot be read ({type(error).__name__})"

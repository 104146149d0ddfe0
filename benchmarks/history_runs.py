"""What Dagster keeps of a generated past: runs, events, partitions, checks and ticks within the bounds of retention.

The rows and the file of every run are those of a real one of the template, under another id, partition and time: ids
are as long as those in whose place they stand, so that also a file of SQLite can be rewritten byte for byte.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from pathlib import Path
from shutil import copytree
from typing import Any

from benchmarks.history import SQLITE_TIME, Row, Template, insert
from benchmarks.past import Past, every
from loosh_pipeline.orchestrator import CHALLENGES, SCORE_JOB, WEIGHTS_JOB
from loosh_pipeline.settings import get_settings

MOMENT = re.compile(r'(?<="timestamp": )\d+\.\d+')
IDS = uuid.UUID(int=0)
UPKEEP_OF = {
    "refresh_metagraph": "metagraph",
    "refresh_availability": "miner_availability",
    "refresh_network_view": "network_view",
    "refresh_context": "scoring_context",
}
TICKS_EVERY_S = {
    "challenge_sensor": 5,
    "outbox_sensor": 10,
    "metagraph_sensor": 15,
    "availability_schedule": 60,
    "network_view_schedule": 60,
    "receipts_schedule": 60,
    "weights_schedule": 120,
    "context_schedule": 600,
}
TICKS_DAYS = {"SENSOR": 1.0, "SCHEDULE": 7.0}
"""How long Dagster keeps ticks that did nothing, by `services.py`."""
NAME = re.compile(r'"job_name": "(\w+)"')


@dataclass(frozen=True, slots=True)
class Kept:
    """What retention leaves in Dagster."""

    challenges: int
    days: float
    upkeep_days: float
    weights_days: float

    @classmethod
    def by_settings(cls) -> Kept:
        settings = get_settings()
        return cls(
            settings.retain_challenges, settings.retain_days, settings.retain_upkeep_days, settings.retain_weights_days
        )

    def first(self, past: Past) -> int:
        """The number of the first challenge that Dagster still shows."""
        return max(past.first_since(past.until - timedelta(days=self.days)), past.challenges - self.challenges)


EVERYTHING = Kept(challenges=10**9, days=10**5, upkeep_days=2.0, weights_days=90.0)
"""As if no challenge had ever been pruned."""


@dataclass(frozen=True, slots=True)
class Run:
    """One real run: its rows in every table, its file, and the challenge that it was of."""

    id: str
    job: str
    partition: str | None
    created_at: datetime
    row: Row
    tags: Sequence[Row]
    events: Sequence[Row]
    event_tags: Sequence[Row]
    checks: Sequence[Row]
    file: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """A run that was at some time, of a challenge or of a job."""

    at: datetime
    template: Run
    partition: str | None = None


def generate(template: Template, home: Path, past: Past, kept: Kept, *, own_files: bool = True) -> None:
    """Fill `home/dagster_home`, which must not exist.

    `own_files`: whether every run has a file of its own, as it really has; else runs of a kind share one, and their
    pages show its events, where 200 KB for each of 100,000 runs are not to be written.
    """
    source, into = template.home / "dagster_home", home / "dagster_home"
    runs = real_runs(source)
    copytree(source, into, ignore=lambda folder, names: [n for n in names if _of_a_run(n)])
    history, log = into / "history" / "runs.db", into / "history" / "runs" / "index.db"
    with closing(_opened(history)) as storage, closing(_opened(log)) as index:
        for table in ("runs", "run_tags"):
            storage.execute(f"DELETE FROM {table}")
        for table in ("event_logs", "asset_event_tags", "asset_check_executions", "dynamic_partitions"):
            index.execute(f"DELETE FROM {table}")
        with storage, index:
            for number, due in enumerate(_due(runs, past, kept)):
                copy = _Copy(due, str(uuid.uuid5(IDS, str(number))))
                _write_rows(storage, index, copy)
                _write_file(log.parent / f"{copy.id}.db", copy, own_files)
            insert(index, "dynamic_partitions", _partitions(past, kept))
            _date_assets(index)
    with closing(_opened(into / "schedules" / "schedules.db")) as schedules, schedules:
        ticks = [dict(row) for row in schedules.execute("SELECT * FROM job_ticks ORDER BY id")]
        schedules.execute("DELETE FROM job_ticks")
        insert(schedules, "job_ticks", _ticks(ticks, past))


def real_runs(dagster_home: Path) -> dict[str, list[Run]]:
    """The runs of an instance that succeeded, by job, the oldest first."""
    found: dict[str, list[Run]] = {}
    history, log = dagster_home / "history" / "runs.db", dagster_home / "history" / "runs" / "index.db"
    with closing(_opened(history)) as storage, closing(_opened(log)) as index:
        for row in storage.execute("SELECT * FROM runs WHERE status = 'SUCCESS' ORDER BY id").fetchall():
            found.setdefault(row["pipeline_name"], []).append(_real_run(dict(row), storage, index, log.parent))
    return found


def _real_run(row: Row, storage: sqlite3.Connection, index: sqlite3.Connection, folder: Path) -> Run:
    def of_it(connection: sqlite3.Connection, statement: str) -> list[Row]:
        return [dict(each) for each in connection.execute(statement, (row["run_id"],))]

    tags = of_it(storage, "SELECT * FROM run_tags WHERE run_id = ? ORDER BY id")
    with closing(_opened(folder / f"{row['run_id']}.db")) as file:
        content = file.serialize()
    return Run(
        id=row["run_id"],
        job=row["pipeline_name"],
        partition=next((each["value"] for each in tags if each["key"] == "dagster/partition"), None),
        created_at=_time(row["create_timestamp"]),
        row=row,
        tags=tags,
        events=of_it(index, "SELECT * FROM event_logs WHERE run_id = ? ORDER BY id"),
        event_tags=of_it(
            index, "SELECT * FROM asset_event_tags WHERE event_id IN (SELECT id FROM event_logs WHERE run_id = ?)"
        ),
        checks=of_it(index, "SELECT * FROM asset_check_executions WHERE run_id = ? ORDER BY id"),
        file=content,
    )


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def _of_a_run(name: str) -> bool:
    return len(name.partition(".")[0]) == len(str(IDS)) and ".db" in name


def _due(runs: dict[str, list[Run]], past: Past, kept: Kept) -> Iterator[Due]:
    """The runs that are still there, in the order in which they were."""
    scored, pauses = runs[SCORE_JOB], every(get_settings())
    upkeep = past.until - timedelta(days=kept.upkeep_days)
    weights = past.until - timedelta(days=kept.weights_days)
    streams = [
        (
            Due(past.at(number), scored[number % len(scored)], past.id(number))
            for number in range(kept.first(past), past.challenges)
        )
    ]
    for job, asset, since in (
        *((job, asset, upkeep) for job, asset in UPKEEP_OF.items()),
        (WEIGHTS_JOB, "weights", weights),
    ):
        real = runs.get(job, [])[-1:]
        streams += [(Due(at, each) for at in past.times(pauses[asset], since)) for each in real]
    return merge(*streams, key=lambda each: each.at)


def _partitions(past: Past, kept: Kept) -> Iterator[Row]:
    for number in range(kept.first(past), past.challenges):
        yield {
            "partitions_def_name": CHALLENGES,
            "partition": past.id(number),
            "create_timestamp": past.at(number).strftime(SQLITE_TIME),
        }


def _write_rows(storage: sqlite3.Connection, index: sqlite3.Connection, copy: _Copy) -> None:
    real, ids = copy.due.template, dict[int, int]()
    insert(storage, "runs", iter([copy.row(real.row)]))
    insert(storage, "run_tags", map(copy.row, real.tags))
    for event in real.events:
        insert(index, "event_logs", iter([copy.row(event)]))
        ids[event["id"]] = index.execute("SELECT last_insert_rowid()").fetchone()[0]
    insert(index, "asset_event_tags", (copy.row(tag, ids) for tag in real.event_tags))
    insert(index, "asset_check_executions", (copy.row(check, ids) for check in real.checks))


def _write_file(path: Path, copy: _Copy, own: bool) -> None:
    if own:
        path.write_bytes(copy.bytes(copy.due.template.file))
        return
    shared = path.with_name(f"shared-{copy.due.template.id}")
    if not shared.exists():
        shared.write_bytes(copy.due.template.file)
    path.hardlink_to(shared)


@dataclass(frozen=True, slots=True)
class _Copy:
    """Rows of a real run as those of another one."""

    due: Due
    id: str

    @property
    def later(self) -> timedelta:
        return self.due.at - self.due.template.created_at

    def row(self, row: Row, events: dict[int, int] | None = None) -> Row:
        found = {name: self._value(name, value) for name, value in row.items()} | {"id": None}
        for name in ("event_id", "evaluation_event_storage_id", "materialization_event_storage_id"):
            if name in row:
                found[name] = (events or {}).get(row[name])
        return found

    def _value(self, name: str, value: Any) -> Any:
        if name.endswith("timestamp") and value is not None:
            return (_time(value) + self.later).strftime(SQLITE_TIME)
        if name in ("start_time", "end_time") and value is not None:
            return value + self.later.total_seconds()
        if not isinstance(value, str):
            return value
        said = self._named(value)
        return MOMENT.sub(self._moment, said) if said.startswith("{") else said

    def _named(self, text: str) -> str:
        old = self.due.template
        text = text.replace(old.id, self.id)
        return (
            text
            if old.partition is None or self.due.partition is None
            else text.replace(old.partition, self.due.partition)
        )

    def _moment(self, found: re.Match[str]) -> str:
        return f"{float(found[0]) + self.later.total_seconds():.6f}"

    def bytes(self, file: bytes) -> bytes:
        """The run's own file, with the times of the real run."""
        old = self.due.template
        file = file.replace(old.id.encode(), self.id.encode())
        if old.partition is None or self.due.partition is None:
            return file
        return file.replace(old.partition.encode(), self.due.partition.encode())


def _date_assets(index: sqlite3.Connection) -> None:
    """Let the catalog name the newest materialization of each asset, and forget what it has counted of partitions."""
    newest = """
        SELECT run_id, event, timestamp FROM event_logs
        WHERE asset_key = ? AND dagster_event_type = 'ASSET_MATERIALIZATION' ORDER BY id DESC LIMIT 1
    """
    for key, said in index.execute("SELECT asset_key, last_materialization FROM asset_keys").fetchall():
        found = index.execute(newest, (key,)).fetchone()
        if found is None or said is None:
            continue
        number = index.execute("SELECT max(id) FROM event_logs WHERE event = ?", (found["event"],)).fetchone()[0]
        record = f'{{"__class__": "EventLogRecord", "event_log_entry": {found["event"]}, "storage_id": {number}}}'
        index.execute(
            "UPDATE asset_keys SET last_run_id = ?, last_materialization = ?, last_materialization_timestamp = ?, "
            "cached_status_data = NULL WHERE asset_key = ?",
            (found["run_id"], record, found["timestamp"], key),
        )


def _ticks(real: Sequence[Row], past: Past) -> Iterator[Row]:
    """Ticks that did nothing, of every sensor and schedule that skipped one, as often as they come."""
    skipped = {NAME.search(row["tick_body"])[1]: row for row in real if row["status"] == "SKIPPED"}  # type: ignore[index]
    for name, row in skipped.items():
        since = past.until - timedelta(days=TICKS_DAYS[row["type"]])
        was = _time(row["timestamp"])
        for at in past.times(timedelta(seconds=TICKS_EVERY_S[name]), since):
            moment = f"{at.timestamp():.6f}"
            times = {key: at.strftime(SQLITE_TIME) for key in row if key.endswith("timestamp")}
            body = row["tick_body"].replace(f"{was.timestamp():.6f}", moment)
            yield row | times | {"id": None, "tick_body": MOMENT.sub(moment, body)}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

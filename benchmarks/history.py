"""What a validator leaves behind in months, copied from a few rounds that it really evaluated.

A template is the LOOSH_HOME of a validator that evaluated some challenges, set weights and was stopped. `generate`
makes another home of it, as if thousands of such challenges had come evenly until now: rows of the inbox and the
outbox, tables of every asset with other ids, times and contents (`benchmarks.variation`), snapshots and weights as
often as the product takes them, windows that were settled with every round of the lookback. Tables of one setting of
weights name each other as the product's do. What Dagster keeps of them is made by `benchmarks.history_runs`. Hotkeys,
snapshots and what weights say are those of the template.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import chain, islice
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import polars as pl

from benchmarks.past import (
    DAY,
    NAME_TIME,
    OF_EMISSIONS,
    OF_SUBMISSIONS,
    Past,
    every,
    made_at,
    moved,
    of_another,
    of_epoch,
    settled,
)
from benchmarks.variation import Varying
from loosh_pipeline.audit.acceptances import BEFORE_ALL, next_link
from loosh_pipeline.audit.canonical import request_digest
from loosh_pipeline.domain import ChallengeState, DeliveryKind
from loosh_pipeline.retention.pruning import FOLD_AFTER, FOLD_AT_ONCE
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.compaction import write_part
from loosh_pipeline.store.compaction_plan import Limits, last_closed
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import KEPT, NEVER
from loosh_pipeline.store.parts import Whole
from loosh_pipeline.store.tables import TableKey, Tables, WrittenTable

NOT_COPIED = ("window_cache", "scorers")
"""A copy that is made again, and what is written once and for all."""
SQLITE_TIME = "%Y-%m-%d %H:%M:%S.%f"
Row = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A home that a validator was stopped in, and the ids of its challenges that were told."""

    home: Path
    rounds: Sequence[str]

    @classmethod
    def of(cls, home: Path) -> Template:
        with closing(sqlite3.connect(home / "validator.db")) as connection:
            told = "SELECT id FROM challenges WHERE state = ? ORDER BY received_at"
            return cls(home, tuple(row[0] for row in connection.execute(told, (ChallengeState.SUBMITTED,))))

    @cached_property
    def tables(self) -> Tables:
        return Tables(str(self.home / "tables"))

    @cached_property
    def received_at(self) -> dict[str, datetime]:
        with closing(sqlite3.connect(self.home / "validator.db")) as connection:
            return {key: _time(text) for key, text in connection.execute("SELECT id, received_at FROM challenges")}

    def assets(self) -> list[str]:
        return sorted(each.name for each in (self.home / "tables").iterdir() if each.name not in NOT_COPIED)

    def keys(self, asset: str) -> Iterator[TableKey]:
        for day in self.tables.days(asset):
            yield from (TableKey.named(day, each.name) for each in sorted(self.tables.files(asset, day)))

    def of_rounds(self, asset: str) -> list[tuple[TableKey, pl.DataFrame]]:
        """The tables of an asset that is made for every challenge, by its rounds; none of another asset."""
        found = {key.name: key for key in self.keys(asset)}
        return [(found[each], self.tables.read(asset, found[each])) for each in self.rounds if each in found]

    def newest_key(self, asset: str) -> TableKey | None:
        """Of an asset whose names say when it was made; None where there is no table of it."""
        return max(self.keys(asset), key=lambda each: each.name, default=None)


def generate(
    template: Template, home: Path, past: Past, *, vectors_days: float = 3650.0, processes: int | None = None
) -> None:
    """Fill `home`, which must not exist, but for what Dagster keeps.

    `vectors_days`: vectors of the last days only, where the time to write those of all is not to be spent.
    `processes`: as many as there are cores, if not given; 0 for none but this.
    """
    home.mkdir(parents=True)
    if (template.home / "chain").exists():
        copytree(template.home / "chain", home / "chain")
    copytree(template.home / "tables" / "scorers", home / "tables" / "scorers")
    fill_inbox(template, home / "validator.db", past)
    fold(f"sqlite:///{home / 'validator.db'}", past.until)
    write_tables(template, home / "tables", past, past.until - timedelta(days=vectors_days), processes)


def fill_inbox(template: Template, database: Path, past: Past) -> None:
    """The template's inbox with these challenges in place of its own, and weights set as often as they are."""
    with closing(sqlite3.connect(template.home / "validator.db")) as source, closing(sqlite3.connect(database)) as into:
        source.backup(into)
        source.row_factory = sqlite3.Row
        into.execute("PRAGMA synchronous=OFF")
        for table in ("outbox", "challenges", "submissions", "totals"):
            into.execute(f"DELETE FROM {table}")
        with into:
            insert(into, "challenges", _challenge_rows(source, template, past))
            insert(into, "outbox", _outbox_rows(source, template, past))
            insert(into, "submissions", _submission_rows(source, past))


def draw_pictures(template: Template, home: Path, past: Past, first: int) -> None:
    """Pictures of the challenges from that one on, which Dagster shows: real ones, under other names."""
    source, into = template.home / "heatmaps", home / "heatmaps"
    into.mkdir()
    real = {old: (source / f"{old}.png", (source / f"{old}.json").read_text()) for old in template.rounds}
    for number in range(first, past.challenges):
        old, new = template.rounds[number % len(template.rounds)], past.id(number)
        picture, chart = real[old]
        copyfile(picture, into / f"{new}.png")
        (into / f"{new}.json").write_text(chart.replace(old, new))


def fold(url: str, now: datetime) -> None:
    """Let what is long over stand in the totals, as retention does."""
    inbox = Inbox.open(url)
    while inbox.fold(now - FOLD_AFTER, now, FOLD_AT_ONCE):
        pass
    inbox.engine.dispose()


def insert(connection: sqlite3.Connection, table: str, rows: Iterator[Row]) -> None:
    """Insert rows that all have the same columns."""
    first = next(rows, None)
    if first is not None:
        names = ", ".join(f'"{name}"' for name in first)
        places = ", ".join(f":{name}" for name in first)
        connection.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({places})', chain([first], rows))


def _challenge_rows(source: sqlite3.Connection, template: Template, past: Past) -> Iterator[Row]:
    found = {row["id"]: dict(row) for row in source.execute("SELECT * FROM challenges")}
    link = BEFORE_ALL
    for number in range(past.challenges):
        old = template.rounds[number % len(template.rounds)]
        later = past.at(number) - template.received_at[old]
        row = {name: _moved(value, later) if name.endswith("_at") else value for name, value in found[old].items()}
        request = row["request"].replace(old, past.id(number))
        digest = request_digest(json.loads(request))
        link = next_link(link, past.id(number), _time(row["received_at"]), digest, row["commitment"])
        of_chain = {"seq": link.seq, "request_sha256": digest, "link": link.digest}
        yield row | {"id": past.id(number), "request": request} | of_chain


def _outbox_rows(source: sqlite3.Connection, template: Template, past: Past) -> Iterator[Row]:
    """Of each challenge what was told; the payloads of old results are dropped, as `Outbox.forget` does."""
    found: dict[str, list[Row]] = {each: [] for each in template.rounds}
    for row in source.execute("SELECT * FROM outbox WHERE challenge_id IS NOT NULL ORDER BY id"):
        found[row["challenge_id"]].append(dict(row))
    for number in range(past.challenges):
        old, new = template.rounds[number % len(template.rounds)], past.id(number)
        later = past.at(number) - template.received_at[old]
        for row in found[old]:
            moved = {name: _moved(row[name], later) for name in ("created_at", "delivered_at")}
            told = row | moved | {"key": new, "challenge_id": new, "id": None}
            kept = _time(moved["created_at"]) + KEPT > past.until and row["kind"] != DeliveryKind.HEATMAP
            payload = row["payload"].replace(old.encode(), new.encode()) if kept else b""
            until = _moved(row["next_attempt_at"], later) if kept else NEVER.strftime(SQLITE_TIME)
            yield told | {"payload": payload, "next_attempt_at": until}


def _submission_rows(source: sqlite3.Connection, past: Past) -> Iterator[Row]:
    newest = source.execute("SELECT * FROM submissions ORDER BY id DESC LIMIT 1").fetchone()
    if newest is None:
        return
    for at in past.times(every(get_settings())["weights"], past.began):
        later = at - _time(newest["created_at"])
        moved = {name: _moved(newest[name], later) for name in ("created_at", "changed_at", "seen_at")}
        yield dict(newest) | moved | {"id": None}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _moved(text: str | None, later: timedelta) -> str | None:
    return None if text is None else (_time(text) + later).strftime(SQLITE_TIME)


def write_tables(
    template: Template, root: Path, past: Past, vectors_since: datetime, processes: int | None = None
) -> None:
    """Tables of all assets: of days that are closed in parts, as compaction leaves them, else each in a file."""
    dates = [past.began.date() + DAY * number for number in range((past.until.date() - past.began.date()).days + 1)]
    closed = last_closed(past.until, get_settings().compact_after_days)
    work = [(template, root, past, vectors_since, day, closed is not None and day <= closed) for day in dates]
    if processes == 0:
        for each in work:
            _write_day(*each)
        return
    # Spawned: a fork would copy threads of polars that hold locks.
    with ProcessPoolExecutor(processes or cpu_count(), get_context("spawn")) as pool:
        list(pool.map(_write_day, *zip(*work, strict=True)))


def _write_day(template: Template, root: Path, past: Past, vectors_since: datetime, day: date, closed: bool) -> None:
    begin = datetime.combine(day, time(), UTC)
    numbers = range(past.first_since(begin), past.first_since(begin + DAY))
    if day == vectors_since.date():
        vectors_since = begin
    pauses = every(get_settings())
    for asset in template.assets():
        if asset == "embeddings" and begin < vectors_since:
            continue
        if asset in pauses:
            found = _series(template, asset, past, past.within(pauses[asset], begin))
        else:
            found = _rounds(template, asset, past, numbers)
        (_write_parts if closed else _write_files)(root, asset, found)


def _write_files(root: Path, asset: str, found: Iterator[Made]) -> None:
    """As `Tables.write` does, but for the waiting until each is on the disk."""
    for each in found:
        path = root / asset / f"day={each.key.day.isoformat()}" / each.key.file
        path.parent.mkdir(parents=True, exist_ok=True)
        each.frame.write_parquet(path, compression="zstd")


def _write_parts(root: Path, asset: str, found: Iterator[Made]) -> None:
    """Through the product's own writer. What is said of the sizes of originals is said of the template's, and digests
    are of names: originals would have to be written to know their own.
    """
    tables, most = Tables(str(root)), Limits().tables
    while some := list(islice(found, most)):
        day = some[0].key.day
        written = sorted((each.whole() for each in some), key=lambda each: each.file)
        write_part(tables, asset, day, written, datetime.combine(day, time(), UTC) + 3 * DAY)


@dataclass(frozen=True, slots=True)
class Made:
    """A table, and what the one that it was made of is like as a file."""

    key: TableKey
    frame: pl.DataFrame
    about: WrittenTable

    def whole(self) -> Whole:
        at = datetime.combine(self.key.day, time(), UTC).timestamp()
        name = self.key.file.encode()
        stamp = f"{self.about.size_bytes}-{int(at)}-{zlib.crc32(name)}"
        digest = hashlib.sha256(name).hexdigest()
        return Whole(self.key.file, self.frame, self.about.size_bytes, digest, stamp, int(at) // 3600)


def _series(template: Template, asset: str, past: Past, times: Iterable[datetime]) -> Iterator[Made]:
    """Tables of an asset that is made time and again, each dated as it would have been."""
    key = template.newest_key(asset)
    if key is None:
        return
    frame, about = template.tables.read(asset, key), template.tables.describe(asset, key)
    stamp, _, rest = key.name.partition("-")
    was, earned = datetime.strptime(stamp, NAME_TIME).replace(tzinfo=UTC), template.newest_key("emissions")
    for at in times:
        came, epoch = made_at(asset, at), past.place(every(get_settings())["weights"], at)
        new = TableKey.of(f"{came:{NAME_TIME}}-{epoch if asset in OF_SUBMISSIONS else rest}", at, key.version)
        of_rounds = asset in OF_EMISSIONS and "challenge_id" in frame.columns
        found = settled(frame, past, at) if of_rounds else of_epoch(moved(frame, came - was), epoch, earned, at)
        yield Made(new, found, about)


def _rounds(template: Template, asset: str, past: Past, numbers: range) -> Iterator[Made]:
    """Tables of an asset that is made for every challenge."""
    found = template.of_rounds(asset)
    about = [template.tables.describe(asset, key) for key, _ in found]
    varying = Varying.all(asset, [frame for _, frame in found])
    for number in numbers if found else ():
        place, at = number % len(found), past.at(number)
        key, _ = found[place]
        new = TableKey.of(past.id(number), at, key.version)
        yield Made(
            new, of_another(varying[place].copy(number), new.name, at - template.received_at[key.name]), about[place]
        )

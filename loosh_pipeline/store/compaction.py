"""Compaction: tables of days that are over move from files of their own into parts.

    1. `pack`    reads what lies alone, in order of names, and writes parts of it, each of which appears whole.
    2. `clear`   an hour later, reads both again, and removes what a part holds to the byte.

Each step may be the last: see `compaction_plan`. Two compactions at once take the same number for a part, which one of
them gets; the other takes the next one, or begins anew with the day when the first took the same tables. A file is
removed only as it was compared, see `day_locks`. Memory: the parts being written, as compressed (`OPEN_BYTES` at most,
and once more when one is finished), a group of rows of each part that is read, and the footers of the day.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from loosh_pipeline.errors import PartTaken, StoreError
from loosh_pipeline.store import day_locks
from loosh_pipeline.store.closed import Readings, newest
from loosh_pipeline.store.compaction_plan import KEPT, Day, Limits
from loosh_pipeline.store.objects import SECONDS_PER_H, TableFile, local_stamp
from loosh_pipeline.store.parts import Held, Part, PartWriter, Whole, holds, schema_id
from loosh_pipeline.store.tables import TableKey, Tables, parquet_bytes, table_rows

log = logging.getLogger(__name__)

UNFINISHED = ".tmp"
OPEN_BYTES = 128 * 1024 * 1024
"""How much all parts together hold that are being written, of days with tables of several schemas."""


@dataclass(slots=True)
class Done:
    """What became of a day, or of many."""

    packed: int = 0
    parts: int = 0
    removed: int = 0
    dropped: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    left: int = 0
    """Files of their own that are still there: most of them have just been packed."""
    stuck: int = 0
    """Those of them with which nothing can be done before somebody sees to them; `problems` names them."""
    replaced: int = 0
    """Parts that later ones replace, and that are still there: readers may have listed them."""
    problems: list[str] = field(default_factory=list)

    def add(self, more: Done) -> None:
        for name in (
            "packed",
            "parts",
            "removed",
            "dropped",
            "bytes_before",
            "bytes_after",
            "left",
            "stuck",
            "replaced",
        ):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.problems += more.problems


class DayCompaction:
    """Compacts one day of an asset. `over`: whether the time is up; looked at after each part."""

    def __init__(
        self,
        tables: Tables,
        asset: str,
        day: date,
        clock: Callable[[], datetime],
        over: Callable[[], bool] = lambda: False,
        limits: Limits = Limits(),  # noqa: B008  # frozen
    ) -> None:
        self._tables, self._objects, self._closed = tables, tables.objects, tables.closed
        self._asset, self._day = asset, day
        self._clock, self._over, self._limits = clock, over, limits
        self._alone: set[str] = set()
        """Files that the next parts are made of."""
        self.done = Done()

    def run(self, drop: Iterable[str] = ()) -> Done:
        """Remove what may be, with the files of `drop`; then pack what lies alone. Raises PartTaken."""
        if self._objects.local:
            self._tidy()
        for name in drop:
            self._objects.remove(self._path(name))
            self.done.dropped += 1
        day = self._look()
        if day.ripe(self._clock()) and self._written_before(day):
            self._clear(day)
        if not self._over():
            self._pack(self._look())
        day = self._look()
        self.done.left, self.done.replaced = len(day.originals), len(day.superseded())
        if not self.done.left:
            self._objects.remove_if_empty(self._tables.directory(self._asset, self._day))
        return self.done

    def _written_before(self, day: Day) -> bool:
        """Whether parts that say they were made in the future, as the clock was ahead, are old by their files' times.

        On a disk those may be wrong too: such a file is dated now, which is when it was first seen.
        """
        directory, now = self._closed.directory(self._asset, self._day), self._clock()
        ahead = {os.path.basename(part.path) for part in day.parts if part.made_at > now}
        if not ahead:
            return True
        this_hour, before = int(now.timestamp()) // SECONDS_PER_H, True
        for each in self._objects.listed(directory):
            if each.name in ahead:
                before &= 0 < each.hour < this_hour - KEPT.total_seconds() / SECONDS_PER_H
                if self._objects.local and each.hour > this_hour:
                    os.utime(f"{directory}/{each.name}", (now.timestamp(), now.timestamp()))
        return before

    def _look(self) -> Day:
        originals = {each.name: each for each in self._tables.originals(self._asset, self._day)}
        return Day(originals, self._closed.parts(self._asset, self._day))

    def _path(self, name: str) -> str:
        return f"{self._tables.directory(self._asset, self._day)}/{name}"

    def _tidy(self) -> None:
        """Remove what a killed process had not finished."""
        directory = self._tables.directory(self._asset, self._day)
        this_hour = int(self._clock().timestamp()) // SECONDS_PER_H
        for where in (directory, self._closed.directory(self._asset, self._day)):
            for each in self._objects.listed(where, UNFINISHED):
                if this_hour - each.hour > KEPT.total_seconds() / SECONDS_PER_H:
                    self._objects.remove(f"{where}/{each.name}")

    def _clear(self, day: Day) -> None:
        for part in day.superseded():
            self._objects.remove(part.path)
        readings = Readings(self._objects)
        for count, (name, (part, held)) in enumerate(day.to_remove().items(), 1):
            try:
                if self._holds(readings, name, part, held):
                    self._remove(name, day.originals[name].stamp)
            except StoreError as error:
                self._say(f"{name} of {self._asset}: {error}")
            if count % self._limits.tables == 0 and self._over():
                return

    def _holds(self, readings: Readings, name: str, part: Part, held: Held) -> bool:
        """Whether the part says what the file says, by both as they are on the disk now."""
        try:
            content = self._objects.content(self._path(name))
        except FileNotFoundError:
            return False
        if hashlib.sha256(content).hexdigest() != held.sha256:
            return False
        original, kept = table_rows(self._path(name), content), readings.rows(name, part, held)
        if original.schema != kept.schema or not original.equals(kept):
            raise StoreError(f"{part.path} holds other rows than its file, which stays; delete that part")
        return True

    def _remove(self, name: str, stamp: str) -> None:
        """Remove a file, unless it was written again since it was listed, or is just being written."""
        path = self._path(name)
        if self._objects.local:
            try:
                with day_locks.removing(self._closed.directory(self._asset, self._day)):
                    if local_stamp(os.stat(path)) != stamp:
                        return
                    os.unlink(path)
            except (BlockingIOError, FileNotFoundError):  # it is written, or another compaction removed it
                return
        else:
            self._objects.remove(path)
        self.done.removed += 1

    def _pack(self, day: Day) -> None:
        merged = day.to_merge(self._limits)
        writing = _Writing(self, day.next_number)
        for table in self._sources(day, merged):
            writing.add(table)
            if writing.parts and self._over():
                break
        else:
            writing.finish()

    def _sources(self, day: Day, merged: Sequence[Part]) -> Iterator[Whole]:
        """What goes into parts, in order of names: files that lie alone, and what parts hold that are merged."""
        counting = newest(day.parts)
        alone = self._alone = set(day.to_pack())
        numbers = {part.number for part in merged}
        places = {name: each for name, each in counting.items() if each[0].number in numbers and name not in alone}
        readings = Readings(self._objects)
        for name in sorted(alone | places.keys()):
            if name in alone:
                table = self._original(name, day.originals[name], counting)
            else:
                part, held = places[name]
                table = Whole(name, readings.rows(name, part, held), *held[2:])
            if table is not None:
                yield table

    def _original(self, name: str, listed: TableFile, counting: Mapping[str, tuple[Part, Held]]) -> Whole | None:
        """A file that lies alone; None when it is gone, in a part already, or cannot be read or be put into one."""
        try:
            content = self._objects.content(self._path(name))
        except FileNotFoundError:
            return None
        digest = hashlib.sha256(content).hexdigest()
        if name in counting and counting[name][1].sha256 == digest:
            return None
        try:
            frame = table_rows(self._path(name), content)
        except StoreError as error:
            self._say(str(error))
            return None
        if not holds(frame.schema):
            self._say(f"{self._path(name)} has columns that no part can hold; it stays as it is: {frame.schema}")
            return None
        return Whole(name, frame, len(content), digest, listed.stamp, listed.hour)

    def keep(self, number: int, writer: PartWriter) -> int:
        """Write a part under the first number that is free; returns that. Raises PartTaken when what it was made of
        was taken by another, or removed.
        """
        content = writer.finish(self._clock())
        there = {each.name for each in self._tables.originals(self._asset, self._day)}
        if gone := sorted((self._alone & writer.files) - there):
            raise PartTaken(f"{self._path(gone[0])} was removed meanwhile; this day is begun anew")
        while not self._objects.put(self._closed.path(self._asset, self._day, number), content, replace=False):
            for part in self._closed.parts(self._asset, self._day):
                if part.number >= number and not writer.files.isdisjoint(part.tables.keys() | part.removed):
                    raise PartTaken(f"{part.path} was written meanwhile, of the same tables; this day is begun anew")
            number += 1
        self.done.packed += len(writer)
        self.done.parts += 1
        self.done.bytes_before += writer.bytes_before
        self.done.bytes_after += len(content)
        return number

    @property
    def limits(self) -> Limits:
        return self._limits

    def _say(self, problem: str) -> None:
        """Tell of a file with which nothing can be done."""
        self.done.stuck += 1
        self.done.problems.append(problem)
        log.warning("%s", problem)


class _Writing:
    """Parts that are being filled, one for each schema."""

    def __init__(self, day: DayCompaction, number: int) -> None:
        self._day, self._number = day, number
        self._open: dict[str, PartWriter] = {}
        self.parts = 0

    def add(self, table: Whole) -> None:
        schema = schema_id(table.frame.schema)
        if schema not in self._open:
            self._open[schema] = PartWriter(table.frame.schema)
        writer = self._open[schema]
        writer.add(table)
        limits = self._day.limits
        if len(writer) >= limits.tables or writer.size_bytes >= limits.size_bytes:
            self._keep(schema)
        elif sum(each.size_bytes for each in self._open.values()) >= OPEN_BYTES:
            self._keep(max(self._open, key=lambda each: self._open[each].size_bytes))

    def finish(self) -> None:
        for schema in list(self._open):
            self._keep(schema)

    def _keep(self, schema: str) -> None:
        self._number = self._day.keep(self._number, self._open.pop(schema)) + 1
        self.parts += 1


def whole(key: TableKey, frame: pl.DataFrame) -> Whole:
    """A table that never lay in a file of its own, as if it had."""
    content = parquet_bytes(frame)
    return Whole(key.file, frame, len(content), hashlib.sha256(content).hexdigest())


def write_part(tables: Tables, asset: str, day: date, history: Iterable[Whole], made_at: datetime) -> str:
    """Write tables of one schema, in order of their files' names, right into a part of a day; returns where.

    For history that is made rather than lived: some `Limits.tables` at a time. Raises StoreError for none, or others,
    and PartTaken where another part is written meanwhile.
    """
    number = Day({}, tables.closed.parts(asset, day)).next_number
    writer: PartWriter | None = None
    for table in history:
        writer = writer or PartWriter(table.frame.schema)
        writer.add(table)
    if writer is None:
        raise StoreError(f"no tables of {asset} were given for {day}; give some")
    path = tables.closed.path(asset, day, number)
    if not tables.objects.put(path, writer.finish(made_at), replace=False):
        raise PartTaken(f"{path} was written meanwhile; write it again")
    return path

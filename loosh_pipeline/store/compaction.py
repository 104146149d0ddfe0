"""Compaction: tables of days that are over move from files of their own into parts.

    1. `pack`    reads what lies alone, in order of names, and writes parts of it, each of which appears whole.
    2. `clear`   an hour later, reads both again, and removes what a part holds to the byte.

Each step may be the last: see `compaction_plan`. Two compactions at once take the same number for a part, which one of
them gets; the other begins anew with the day. Memory: a part as compressed, and a few tables.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from loosh_pipeline.errors import PartTaken, StoreError
from loosh_pipeline.store.closed import Reading, newest
from loosh_pipeline.store.compaction_plan import KEPT, Day, Limits
from loosh_pipeline.store.objects import SECONDS_PER_H, TableFile, local_stamp
from loosh_pipeline.store.parts import Held, Part, PartWriter, Whole, holds, schema_id
from loosh_pipeline.store.tables import TableKey, Tables, parquet_bytes, table_rows

log = logging.getLogger(__name__)

GONE = ".removed"
"""Ends the hidden name that a file has between the last look at it and its removal."""
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
    problems: list[str] = field(default_factory=list)

    def add(self, more: Done) -> None:
        for name in ("packed", "parts", "removed", "dropped", "bytes_before", "bytes_after", "left"):
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
        self.done = Done()

    def run(self, drop: Iterable[str] = ()) -> Done:
        """Remove what may be, with the files of `drop`; then pack what lies alone. Raises PartTaken."""
        if self._objects.local:
            self._tidy()
        for name in drop:
            self._objects.remove(self._path(name))
            self.done.dropped += 1
        day = self._look()
        if day.ripe(self._clock()):
            self._clear(day)
        if not self._over():
            self._pack(self._look())
        self.done.left = len(self._tables.originals(self._asset, self._day))
        if not self.done.left:
            self._objects.remove_if_empty(self._tables.directory(self._asset, self._day))
        return self.done

    def _look(self) -> Day:
        originals = {each.name: each for each in self._tables.originals(self._asset, self._day)}
        return Day(originals, self._closed.parts(self._asset, self._day))

    def _path(self, name: str) -> str:
        return f"{self._tables.directory(self._asset, self._day)}/{name}"

    def _tidy(self) -> None:
        """See to what a killed process left: a file on its way out comes back unless a part holds it."""
        directory = self._tables.directory(self._asset, self._day)
        this_hour = int(self._clock().timestamp()) // SECONDS_PER_H
        for where in (directory, self._closed.directory(self._asset, self._day)):
            for each in self._objects.listed(where, UNFINISHED):
                if this_hour - each.hour > KEPT.total_seconds() / SECONDS_PER_H:
                    self._objects.remove(f"{where}/{each.name}")
        for each in self._objects.listed(directory, GONE):
            _put_back(f"{directory}/{each.name}", self._path(each.name[1 : -len(GONE)]))

    # --- removing -----------------------------------------------------------------------------------------------

    def _clear(self, day: Day) -> None:
        for part in day.superseded():
            self._objects.remove(part.path)
        readings: dict[int, Reading] = {}
        for count, (name, (part, held)) in enumerate(day.to_remove().items(), 1):
            reading = readings.setdefault(part.number, Reading(self._objects, part))
            try:
                if self._holds(reading, name, held):
                    self._remove(name, day.originals[name].stamp)
            except StoreError as error:
                self._say(f"{name} of {self._asset}: {error}")
            if count % self._limits.tables == 0 and self._over():
                return

    def _holds(self, reading: Reading, name: str, held: Held) -> bool:
        """Whether the part says what the file says, by both as they are on the disk now."""
        try:
            content = self._objects.content(self._path(name))
        except FileNotFoundError:
            return False
        if hashlib.sha256(content).hexdigest() != held.sha256:
            return False
        original, kept = table_rows(self._path(name), content), reading.rows(held)
        if original.schema != kept.schema or not original.equals(kept):
            raise StoreError(f"{reading.part.path} holds other rows than its file, which stays; delete that part")
        return True

    def _remove(self, name: str, stamp: str) -> None:
        """Remove a file, unless it was written again since it was listed."""
        path = self._path(name)
        if self._objects.local:
            gone = os.path.join(os.path.dirname(path), f".{name}{GONE}")
            try:
                os.rename(path, gone)
            except FileNotFoundError:
                return
            if local_stamp(os.stat(gone)) != stamp:
                _put_back(gone, path)
                return
            os.unlink(gone)
        else:
            self._objects.remove(path)
        self.done.removed += 1

    # --- packing ------------------------------------------------------------------------------------------------

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
        alone = set(day.to_pack())
        numbers = {part.number for part in merged}
        places = {name: each for name, each in counting.items() if each[0].number in numbers and name not in alone}
        readings = {part.number: Reading(self._objects, part) for part in merged}
        for name in sorted(alone | places.keys()):
            if name in alone:
                table = self._original(name, day.originals[name], counting)
            else:
                part, held = places[name]
                table = Whole(name, readings[part.number].rows(held), *held[2:])
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
            return None
        return Whole(name, frame, len(content), digest, listed.stamp, listed.hour)

    def keep(self, number: int, writer: PartWriter) -> None:
        """Write a part under a number that must be free. Raises PartTaken."""
        content = writer.finish(self._clock())
        path = self._closed.path(self._asset, self._day, number)
        if not self._objects.put(path, content, replace=False):
            raise PartTaken(f"{path} was written by another compaction; this one begins anew with the day")
        self.done.packed += len(writer)
        self.done.parts += 1
        self.done.bytes_before += writer.bytes_before
        self.done.bytes_after += len(content)

    @property
    def limits(self) -> Limits:
        return self._limits

    def _say(self, problem: str) -> None:
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
        writer = self._open.setdefault(schema, PartWriter(table.frame.schema))
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
        self._day.keep(self._number, self._open.pop(schema))
        self._number += 1
        self.parts += 1


def _put_back(gone: str, path: str) -> None:
    """A file that was about to be removed lies where it was, unless a newer one does."""
    with suppress(FileExistsError):
        os.link(gone, path)
    os.unlink(gone)


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

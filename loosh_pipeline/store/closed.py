"""Compacted days: `ROOT/ASSET/closed=DAY/NUMBER.parquet`, parts of which one of a higher number counts before others.

Parts never change. One disappears only when later ones hold all that it holds: whoever finds one gone looks again.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime
from typing import Any, TypeVar

import polars as pl

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store import parts as format_of_parts
from loosh_pipeline.store.objects import Objects, TableFile
from loosh_pipeline.store.parts import FILE, Held, Part, Whole

CLOSED = re.compile(r"closed=([0-9]{4}-[0-9]{2}-[0-9]{2})")
NUMBER = re.compile(r"([0-9]{6,})\.parquet")
TRIES = 5
"""Looks at a day whose parts are replaced meanwhile."""
FOOTERS_OF_TABLES = 60_000
"""How many tables a process remembers where they lie, and all of the day that is being read: some 0.5 KB each."""
DECODED_BYTES = 16 * 1024 * 1024
"""How much is kept of what was last decoded, of which the next table mostly is."""

T = TypeVar("T")


class Footers:
    """What parts said of themselves, by path and stamp; the ones that were not asked for longest are forgotten, but
    none of the day that is being read: it would be read again for each of its tables.
    """

    def __init__(self, most_tables: int = FOOTERS_OF_TABLES) -> None:
        self._most, self._tables = most_tables, 0
        self._parts: OrderedDict[tuple[str, str], Part] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, stamp: str) -> Part | None:
        with self._lock:
            found = self._parts.get((path, stamp))
            if found is not None:
                self._parts.move_to_end((path, stamp))
            return found

    def keep(self, part: Part, stamp: str) -> None:
        """Remember it; not where a store does not tell whether it is still the same."""
        if not stamp:
            return
        with self._lock:
            if (part.path, stamp) not in self._parts:
                self._parts[part.path, stamp] = part
                self._tables += _weight(part)
            if self._tables > self._most:
                self._forget(part.path)

    def _forget(self, reading: str) -> None:
        day = reading.rpartition("/")[0]
        for key in [each for each in self._parts if each[0].rpartition("/")[0] != day]:
            if self._tables <= self._most:
                return
            self._tables -= _weight(self._parts.pop(key))


def _weight(part: Part) -> int:
    return 1 + len(part.tables)


class Decoded:
    """Groups of rows that were read last, up to so many bytes. A part never changes, so they are right for good."""

    def __init__(self, most_bytes: int = DECODED_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._groups: OrderedDict[tuple[Part, int], pl.DataFrame] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, part: Part, group: int) -> pl.DataFrame | None:
        with self._lock:
            found = self._groups.get((part, group))
            if found is not None:
                self._groups.move_to_end((part, group))
            return found

    def keep(self, part: Part, group: int, rows: pl.DataFrame) -> None:
        with self._lock:
            if (part, group) not in self._groups:
                self._groups[part, group] = rows
                self._bytes += int(rows.estimated_size())
            while self._bytes > self._most and self._groups:
                self._bytes -= int(self._groups.popitem(last=False)[1].estimated_size())


class Closed:
    """Finds and reads tables in parts."""

    def __init__(self, objects: Objects, footers: Footers | None = None) -> None:
        self._objects, self._footers, self._decoded = objects, footers or _FOOTERS, Decoded()

    def directory(self, asset: str, day: date) -> str:
        return f"{self._objects.root}/{asset}/closed={day.isoformat()}"

    def path(self, asset: str, day: date, number: int) -> str:
        return f"{self.directory(asset, day)}/{number:06}.parquet"

    def parts(self, asset: str, day: date) -> list[Part]:
        """The parts of a day in order of their numbers: what a later one says counts."""
        return self._again(lambda: list(self._parts(asset, day, None)), f"{asset} of {day}")

    def readable(self, asset: str, day: date, broken: list[StoreError]) -> list[Part]:
        """The same without those that cannot be opened; `broken` takes what is wrong with each."""

        def look() -> list[Part]:
            broken.clear()
            return list(self._parts(asset, day, broken))

        return self._again(look, f"{asset} of {day}")

    def _parts(self, asset: str, day: date, broken: list[StoreError] | None) -> Iterator[Part]:
        directory = self.directory(asset, day)
        numbered = [(int(found[1]), each) for each in self._objects.listed(directory) if (found := _numbered(each))]
        for number, each in sorted(numbered):
            path = f"{directory}/{each.name}"
            part = self._footers.get(path, each.stamp)
            if part is None:
                try:
                    with self._objects.open(path) as file:
                        part = format_of_parts.opened(path, number, file)
                except StoreError as error:
                    if broken is None:
                        raise
                    broken.append(error)
                    continue
                self._footers.keep(part, each.stamp)
            yield part

    def find(self, asset: str, day: date, file: str) -> tuple[Part, Held] | None:
        """Where a table lies; None when no part holds it."""
        return find(self.parts(asset, day), file)

    def read(self, asset: str, day: date, file: str) -> pl.DataFrame | None:
        """The rows of a table; None when no part holds it."""

        def look() -> pl.DataFrame | None:
            found = self.find(asset, day, file)
            return None if found is None else self._rows(*found)

        return self._again(look, f"{file} of {asset}")

    def _rows(self, part: Part, held: Held) -> pl.DataFrame:
        if not held.rows:
            return Reading(self._objects, part).rows(held)
        group = part.group(held)
        rows = self._decoded.get(part, group)
        if rows is None:
            rows = Reading(self._objects, part).group(group)
            self._decoded.keep(part, group, rows)
        return part.cut(rows, held)

    def columns(self, part: Part, files: Set[str], schema: Mapping[str, Any]) -> pl.DataFrame:
        """Some columns of some tables of a part, after `file`; null is what they lack. Raises FileNotFoundError."""
        held = [part.tables[each] for each in files]
        groups = sorted({part.group(each) for each in held if each.rows})
        with self._objects.open(part.path) as file:
            rows = format_of_parts.read_groups(part, file, groups, list(schema), ahead=not self._objects.local)
        if len(files) < len(part.tables):
            rows = rows.filter(pl.col(FILE).is_in(files))
        lacking = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns]
        found = rows.with_columns(lacking).select(FILE, *schema)
        if found.schema != pl.Schema({FILE: pl.String, **schema}):
            raise StoreError(
                f"{part.path} holds {dict(found.schema)}, and not {dict(schema)}; see its writer's version"
            )
        return found

    def add(self, asset: str, day: date, table: Whole, made_at: datetime) -> None:
        """Write a table as a part, which counts before all that are there."""
        writer = format_of_parts.PartWriter(table.frame.schema)
        writer.add(table)
        content = writer.finish(made_at)
        while True:
            number = max((part.number for part in self.parts(asset, day)), default=0) + 1
            if self._objects.put(self.path(asset, day, number), content, replace=False):
                return

    def remove(self, asset: str, day: date, files: Sequence[str], made_at: datetime) -> None:
        """Let tables count no more that parts hold; nothing where none does."""
        while True:
            parts = self.parts(asset, day)
            if not (there := [each for each in files if find(parts, each) is not None]):
                return
            path = self.path(asset, day, parts[-1].number + 1)
            if self._objects.put(path, format_of_parts.removal(there, made_at), replace=False):
                return

    def changed_days(self, asset: str, since_hour: int) -> set[date]:
        """Days of several parts, of which one was put there since an hour (from 1970), in few looks at the store. One
        that does not tell when has days of all times.
        """
        directory = f"{self._objects.root}/{asset}"
        days: dict[str, list[TableFile]] = {}
        if self._objects.local:
            names = filter(CLOSED.fullmatch, self._objects.directories(directory))
            days = {name: self._objects.listed(f"{directory}/{name}") for name in names}
        else:
            for path, each in self._objects.below(directory):
                days.setdefault(path.split("/")[-2], []).append(each)
        return {
            date.fromisoformat(found[1])
            for name, files in days.items()
            if (found := CLOSED.fullmatch(name))
            and len(files) > 1
            and not all(0 < each.hour < since_hour for each in files)
        }

    def _again(self, look: Callable[[], T], what: str) -> T:
        for _ in range(TRIES):
            try:
                return look()
            except FileNotFoundError:
                continue
        raise StoreError(f"the parts of {what} were replaced at each of {TRIES} looks; read it again")


class Reading:
    """Reads tables of one part. What lies together is decoded once when they come in order."""

    def __init__(self, objects: Objects, part: Part) -> None:
        self._objects, self.part = objects, part
        self._at = -1
        self._group = pl.DataFrame()

    def rows(self, held: Held) -> pl.DataFrame:
        """Of a table. Raises FileNotFoundError when the part was replaced."""
        if not held.rows:
            return self._read([])
        if (at := self.part.group(held)) != self._at:
            self._group, self._at = self.group(at), at
        return self.part.cut(self._group, held)

    def group(self, at: int) -> pl.DataFrame:
        """The rows of all tables of a group."""
        return self._read([at])

    def _read(self, groups: Sequence[int]) -> pl.DataFrame:
        with self._objects.open(self.part.path) as file:
            found = format_of_parts.read_groups(self.part, file, groups, ahead=not self._objects.local)
        return found.drop(FILE)


class Readings:
    """Reads tables of several parts in order of their names. Of a part, the rows around the last one are kept until the
    last of its tables was passed.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._of: dict[str, Reading] = {}

    def rows(self, name: str, part: Part, held: Held) -> pl.DataFrame:
        """Raises FileNotFoundError when the part was replaced."""
        for path in [path for path, reading in self._of.items() if reading.part.last < name]:
            del self._of[path]
        if part.path not in self._of:
            self._of[part.path] = Reading(self._objects, part)
        return self._of[part.path].rows(held)


def find(parts: Sequence[Part], file: str) -> tuple[Part, Held] | None:
    """Where a table lies that counts; None when none of a day's parts holds it, or a later one says it is no more."""
    for part in reversed(parts):
        if file in part.removed:
            return None
        if (held := part.tables.get(file)) is not None:
            return part, held
    return None


def newest(parts: Sequence[Part]) -> dict[str, tuple[Part, Held]]:
    """Where every table lies that counts."""
    found: dict[str, tuple[Part, Held]] = {}
    for part in parts:
        for file in part.removed:
            found.pop(file, None)
        found.update((file, (part, held)) for file, held in part.tables.items())
    return found


def as_listed(found: Mapping[str, tuple[Part, Held]]) -> Iterator[TableFile]:
    """Tables in parts as their originals were listed."""
    return (TableFile(file, held.stamp, held.hour) for file, (_, held) in found.items())


def _numbered(file: TableFile) -> re.Match[str] | None:
    return NUMBER.fullmatch(file.name)


_FOOTERS = Footers()
"""Of this process: workers read the same days again and again."""

"""Asset tables: one per asset and partition, read by polars and, as views, by DuckDB.

    ROOT/ASSET/day=YYYY-MM-DD/NAME[.VERSION].parquet    as it was written
    ROOT/ASSET/closed=YYYY-MM-DD/NUMBER.parquet         a part: many of them in one, once the day is over

A file appears whole or not at all. What strangers told us (`write_once`) is kept as first recorded; what we compute
from it is a pure function of its inputs, so writing it again writes the same rows. A file of its own counts before what
parts hold of the same name, so a table that is written again counts at once, however old its day is.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NoReturn

import polars as pl

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store import day_locks
from loosh_pipeline.store.closed import CLOSED, TRIES, Closed, Readings, as_listed, newest
from loosh_pipeline.store.objects import PARQUET, Objects, TableFile
from loosh_pipeline.store.parts import FILE, Part, Whole, holds
from loosh_pipeline.store.views import SqlConnection, Views

SAFE_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,99}|[0-9]{8}T[0-9]{12}-[A-Za-z0-9_-]{1,80}")
"""No two alike but for case, and no dot, which sets off the version. The second form is our own tables', which sort
by time."""
DAY = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")
OBJECTS_AT_ONCE = 256
"""How many files of an object store are held in memory at once, with all their columns."""


@dataclass(frozen=True, slots=True)
class TableKey:
    """Where one table lies: its day (of the challenge, in UTC), its name and, for scores, the scorer version."""

    day: date
    name: str
    version: str = ""

    @classmethod
    def of(cls, identity: str, at: datetime, version: str = "") -> TableKey:
        if at.tzinfo is None:
            raise StoreError(f"{at!r} is naive, so its day in UTC is unknown; pass an aware datetime")
        return cls(at.astimezone(UTC).date(), file_stem(identity), version)

    @classmethod
    def named(cls, day: date, file: str) -> TableKey:
        """The key of a file's name."""
        name, _, version = file.removesuffix(PARQUET).partition(".")
        return cls(day, name, version)

    @property
    def file(self) -> str:
        return f"{self.name}.{self.version}{PARQUET}" if self.version else f"{self.name}{PARQUET}"


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A table as it was written. `sha256` is of its file's bytes."""

    path: str
    rows: int
    size_bytes: int
    sha256: str
    existed: bool = False


HASHED = "~"
"""How a name begins that is the hash of an id."""


def file_stem(identity: str) -> str:
    """A file name for an id that a stranger chose: itself when harmless, else its hash (marked by `~`)."""
    if SAFE_NAME.fullmatch(identity):
        return identity
    return HASHED + hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()


class Tables:
    """Reads and writes asset tables under a local path or an fsspec URL.

    Raises StoreError for a root that DuckDB would read as a pattern.
    """

    def __init__(self, root: str) -> None:
        self.objects = Objects(root)
        self.closed = Closed(self.objects)
        self._views = Views(self.objects, self.closed, self.directory)

    def check_writable(self) -> None:
        """Write a file and remove it. Raises StoreError with the reason; an object store is not asked."""
        self.objects.check_writable()

    def check_listed(self) -> None:
        """Look what an object store holds here; nothing is written. Raises StoreError with the reason."""
        self.objects.check_listed()

    def directory(self, asset: str, day: date) -> str:
        """Where tables of a day lie as they were written."""
        return f"{self.objects.root}/{asset}/day={day.isoformat()}"

    def path(self, asset: str, key: TableKey) -> str:
        """Where a table lies, or lay until its day was compacted."""
        return f"{self.directory(asset, key.day)}/{key.file}"

    def write(self, asset: str, key: TableKey, frame: pl.DataFrame) -> WrittenTable:
        """Write a table, replacing what an earlier attempt left.

        On a disk, its file is not removed meanwhile for what it was before. An object store removes whatever has the
        name: there, into a day that has parts, a table is written as a part, which nobody replaces.
        """
        path, content = self.path(asset, key), parquet_bytes(frame)
        written = _written(path, content, frame.height)
        if self.objects.local:
            with day_locks.writing(self.closed.directory(asset, key.day)):
                self.objects.put(path, content, replace=True)
        elif self.closed.parts(asset, key.day) and holds(frame.schema):
            self.closed.add(asset, key.day, Whole(key.file, frame, len(content), written.sha256), datetime.now(UTC))
            self.objects.remove(path)
        else:
            self.objects.put(path, content, replace=True)
        return written

    def write_once(self, asset: str, key: TableKey, frame: pl.DataFrame) -> WrittenTable:
        """Write a table unless it exists; then keep what is there and say so (`existed`)."""
        path, content = self.path(asset, key), parquet_bytes(frame)
        # An original is removed long after a part holds it: what is in neither now is not there.
        if self.closed.find(asset, key.day, key.file) is None and self.objects.put(path, content, replace=False):
            return _written(path, content, frame.height)
        return self.describe(asset, key)

    def exists(self, asset: str, key: TableKey) -> bool:
        there = self.objects.exists(self.path(asset, key))
        return there or self.closed.find(asset, key.day, key.file) is not None

    def read(self, asset: str, key: TableKey) -> pl.DataFrame:
        """The rows of a table. Raises StoreError that names the missing file and the asset to materialize."""
        path = self.path(asset, key)
        with suppress(FileNotFoundError):
            return table_rows(path, self.objects.content(path))
        found = self.closed.read(asset, key.day, key.file)
        if found is None:
            raise _missing(path, asset)
        return found

    def describe(self, asset: str, key: TableKey) -> WrittenTable:
        """What was written for a key. Raises StoreError like `read`."""
        path = self.path(asset, key)
        with suppress(FileNotFoundError):
            content = self.objects.content(path)
            return _written(path, content, table_rows(path, content).height, existed=True)
        found = self.closed.find(asset, key.day, key.file)
        if found is None:
            raise _missing(path, asset)
        if not found[1].sha256:  # it never lay in a file of its own
            return _written(path, parquet_bytes(self.read(asset, key)), found[1].rows, existed=True)
        return WrittenTable(path, found[1].rows, found[1].size_bytes, found[1].sha256, existed=True)

    def latest(self, asset: str) -> pl.DataFrame | None:
        """The rows of the newest table of an asset whose names sort by time; None when there is none."""
        newest_key = next(self.newest_first(asset), None)
        return None if newest_key is None else self.read(asset, newest_key)

    def newest_first(self, asset: str, until: date | None = None) -> Iterator[TableKey]:
        """Keys of an asset's tables, the newest first where names sort by time; `until` leaves out later days."""
        for day in self._newest_days(asset):
            if until is None or day <= until:
                names = sorted((each.name for each in self.files(asset, day)), reverse=True)
                yield from (TableKey.named(day, name) for name in names)

    def assets(self) -> list[str]:
        """Names of all assets that ever had tables."""
        return sorted(each for each in self.objects.directories(self.objects.root) if not each.startswith("."))

    def days(self, asset: str) -> list[date]:
        """Days for which an asset has tables, oldest first. Raises StoreError where nobody can tell."""
        return self._days(asset, DAY, CLOSED)

    def _newest_days(self, asset: str) -> Iterator[date]:
        """The same, newest first, each looked at when it is asked for: mostly the first will do, of years of days."""
        names = self.objects.directories(f"{self.objects.root}/{asset}")
        last = None
        for name in sorted(names, key=lambda each: each.rpartition("=")[2], reverse=True):
            found = DAY.fullmatch(name) or CLOSED.fullmatch(name)
            if found and found[1] != last:
                last = found[1]
                yield date.fromisoformat(last)

    def open_days(self, asset: str) -> list[date]:
        """Those of which tables lie as they were written, oldest first."""
        return self._days(asset, DAY)

    def _days(self, asset: str, *patterns: re.Pattern[str]) -> list[date]:
        names = self.objects.directories(f"{self.objects.root}/{asset}")
        found = (pattern.fullmatch(name) for name in names for pattern in patterns)
        return sorted({date.fromisoformat(each[1]) for each in found if each})

    def files(self, asset: str, day: date) -> list[TableFile]:
        """The tables of an asset's day, as their files were listed before the day was compacted."""
        # First the originals: one that is removed meanwhile is found in a part.
        originals = self.originals(asset, day)
        parts = self.closed.parts(asset, day)
        if not parts:
            return originals
        listed = {each.name: each for each in as_listed(newest(parts))}
        return list({**listed, **{each.name: each for each in originals}}.values())

    def originals(self, asset: str, day: date) -> list[TableFile]:
        """Files of tables of a day that lie as they were written."""
        return self.objects.listed(self.directory(asset, day))

    def read_files(
        self,
        asset: str,
        day: date,
        names: Sequence[str],
        schema: Mapping[str, Any],
        where: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Some columns of many tables at once, and before them the `file` of each row; null is what a table lacks.

        `where`: which rows, by these columns; of a file that is no part of a closed day, no others are held. Raises
        StoreError that names a table which cannot be read.
        """
        for _ in range(TRIES):
            try:
                return self._read_files(asset, day, names, schema, pl.lit(True) if where is None else where)
            except (pl.exceptions.PolarsError, OSError) as error:
                if not self.closed.parts(asset, day):  # no file can have moved
                    return self._unreadable(asset, day, names, error)
                why = error
        return self._unreadable(asset, day, names, why)

    def _unreadable(self, asset: str, day: date, names: Sequence[str], error: Exception) -> NoReturn:
        """Say which of some tables it is."""
        for name in names:
            self.read(asset, TableKey.named(day, name))
        raise StoreError(f"{asset} of {day} cannot be read: {error}") from error

    def _read_files(
        self, asset: str, day: date, names: Sequence[str], schema: Mapping[str, Any], where: pl.Expr
    ) -> pl.DataFrame:
        how = {"schema": dict(schema), "missing_columns": "insert", "extra_columns": "ignore"}
        parts = self.closed.parts(asset, day)
        if not parts:
            return self._scan({f"{self.directory(asset, day)}/{name}": name for name in names}, how, where)
        apart = {each.name for each in self.originals(asset, day)}
        paths = {f"{self.directory(asset, day)}/{name}": name for name in names if name in apart}
        found = [self._scan(paths, how, where)]
        places = newest(parts)
        wanted: dict[int, set[str]] = {}
        for name in names:
            if name not in apart:
                if name not in places:
                    raise FileNotFoundError(self.path(asset, TableKey.named(day, name)))
                wanted.setdefault(places[name][0].number, set()).add(name)
        by_number = {part.number: part for part in parts}
        held = (self.closed.columns(by_number[number], files, schema) for number, files in wanted.items())
        found += [rows.filter(where) for rows in held]
        order = pl.DataFrame({FILE: names}, schema={FILE: pl.String}).with_row_index("at")
        rows = pl.concat(found).join(order, on=FILE, how="left", maintain_order="left")
        return rows.sort("at", maintain_order=True).drop("at")

    def _scan(self, paths: Mapping[str, str], how: Any, where: pl.Expr) -> pl.DataFrame:
        columns = [FILE, *how["schema"]]
        if not paths:
            return pl.DataFrame(schema={FILE: pl.String, **how["schema"]})
        if self.objects.local:
            rows = pl.scan_parquet(list(paths), glob=False, include_file_paths="path", **how).filter(where).collect()
            of_path = pl.DataFrame(list(paths.items()), schema={"path": pl.String, FILE: pl.String}, orient="row")
            return rows.join(of_path, on="path", how="left").select(columns)
        items = list(paths.items())
        parts = (dict(items[at : at + OBJECTS_AT_ONCE]) for at in range(0, len(items), OBJECTS_AT_ONCE))
        return pl.concat([self._scan_objects(each, how, where) for each in parts]).select(columns)

    def _scan_objects(self, paths: Mapping[str, str], how: Any, where: pl.Expr) -> pl.DataFrame:
        contents = self.objects.fs.cat(list(paths))
        frames = (pl.scan_parquet(io.BytesIO(contents[path]), **how).filter(where) for path in paths)
        named = [frame.with_columns(file=pl.lit(name)) for frame, name in zip(frames, paths.values(), strict=True)]
        return pl.concat(named).collect()

    def each(self, asset: str, day: date) -> Iterator[tuple[TableKey, pl.DataFrame]]:
        """Every table of an asset's day as it was written, in order of names and versions; few are held at once.

        One that is deleted meanwhile is left out. Raises StoreError that names a file which cannot be read.
        """
        apart = {each.name for each in self.originals(asset, day)}
        for key, found in self._each(asset, day, apart, self.closed.parts(asset, day)):
            if isinstance(found, StoreError):
                raise found
            yield key, found

    def each_or_why(
        self, asset: str, day: date, broken: list[StoreError]
    ) -> Iterator[tuple[TableKey, pl.DataFrame | StoreError]]:
        """The same, with why in place of what cannot be read. `broken` takes the parts that cannot be opened: nobody
        can say what lies in them.
        """
        apart = {each.name for each in self.originals(asset, day)}
        yield from self._each(asset, day, apart, self.closed.readable(asset, day, broken))

    def _each(
        self, asset: str, day: date, apart: set[str], parts: Sequence[Part]
    ) -> Iterator[tuple[TableKey, pl.DataFrame | StoreError]]:
        places = newest(parts)
        readings = Readings(self.objects)
        for name in sorted(apart | places.keys()):
            key = TableKey.named(day, name)
            try:
                if name in apart:
                    path = self.path(asset, key)
                    found = table_rows(path, self.objects.content(path))
                else:
                    found = readings.rows(name, *places[name])
            except FileNotFoundError:  # it moved into a part, or to another one, since they were listed; or is no more
                if (moved := self._moved(asset, key)) is not None:
                    yield key, moved
                continue
            except StoreError as error:
                yield key, error
                continue
            yield key, found

    def _moved(self, asset: str, key: TableKey) -> pl.DataFrame | StoreError | None:
        try:
            return self.read(asset, key) if self.exists(asset, key) else None
        except StoreError as error:
            return error

    def remove(self, asset: str, key: TableKey) -> None:
        """Delete a table that can be made again; one that is not there is no error."""
        self.closed.remove(asset, key.day, [key.file], datetime.now(UTC))
        self.objects.remove(self.path(asset, key))

    def remove_day(self, asset: str, day: date) -> None:
        """The same for all tables of a day, but for those that are written meanwhile."""
        self.objects.remove_directory(self.closed.directory(asset, day))
        self.objects.remove_directory(self.directory(asset, day))

    def register_views(self, connection: SqlConnection, assets: Iterable[str], since: date | None = None) -> list[str]:
        """Create a DuckDB view for every asset that has tables; returns the names of those that have.

        `since` leaves out older days, so that a query over a lookback does not open the whole history. Query them soon:
        see `views`.
        """
        self._views.make_known(connection)
        created = []
        for asset in assets:
            query = self._views.of(asset, [day for day in self.days(asset) if since is None or day >= since])
            if query is not None:
                connection.execute(f'CREATE OR REPLACE VIEW "{asset}" AS {query}')
                created.append(asset)
        return created


def _missing(path: str, asset: str) -> StoreError:
    return StoreError(f"no table {path}; materialize {asset} for this partition first")


def _written(path: str, content: bytes, rows: int, *, existed: bool = False) -> WrittenTable:
    return WrittenTable(path, rows, len(content), hashlib.sha256(content).hexdigest(), existed)


def table_rows(path: str, content: bytes) -> pl.DataFrame:
    """What the file of a table holds. Raises StoreError that names it."""
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise StoreError(f"{path} is no readable table: {error}; delete it and materialize it again") from error


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """The file of a table."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()

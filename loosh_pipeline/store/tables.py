"""Asset tables: one Parquet file per asset and partition, read by polars and, as views, by DuckDB.

    ROOT/ASSET/day=YYYY-MM-DD/NAME[.VERSION].parquet

A file appears whole or not at all. What strangers told us (`write_once`) is kept as first recorded; what we compute
from it is a pure function of its inputs, so writing it again writes the same rows.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, Protocol

import fsspec
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from loosh_pipeline.errors import StoreError

SAFE_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,99}|[0-9]{8}T[0-9]{12}-[A-Za-z0-9_-]{1,80}")
"""No two alike but for case, and no dot, which sets off the version. The second form is our own tables', which sort
by time."""
DAY = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")
GLOB_CHARACTERS = "*?["
SECONDS_PER_H = 3600
PROBE_BYTES = 256 * 1024
"""Somewhat more than all tables of a round: there is room for another one."""
OBJECTS_AT_ONCE = 256
"""How many files of an object store are held in memory at once, with all their columns."""
VERSION_FIELDS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""By which fsspec's file systems tell one version of an object from the next."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqlConnection(Protocol):
    """What `register_views` needs of a DuckDB connection."""

    def execute(self, query: str) -> object: ...

    def filesystem_is_registered(self, name: str) -> bool: ...

    def register_filesystem(self, filesystem: Any) -> None: ...


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
        name, _, version = file.removesuffix(".parquet").partition(".")
        return cls(day, name, version)

    @property
    def file(self) -> str:
        return f"{self.name}.{self.version}.parquet" if self.version else f"{self.name}.parquet"


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A table as it lies on disk. `sha256` is of the file's bytes."""

    path: str
    rows: int
    size_bytes: int
    sha256: str
    existed: bool = False


class TableFile(NamedTuple):
    """One file of an asset's day.

    `stamp` is another one whenever the file was written again, and empty where the store does not tell. `hour`: in
    which it was written, counted from 1970.
    """

    name: str
    stamp: str
    hour: int


def file_stem(identity: str) -> str:
    """A file name for an id that a stranger chose: itself when harmless, else its hash (marked by `~`)."""
    if SAFE_NAME.fullmatch(identity):
        return identity
    return "~" + hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()


class Tables:
    """Reads and writes asset tables under a local path or an fsspec URL.

    Raises StoreError for a root that DuckDB would read as a pattern.
    """

    def __init__(self, root: str) -> None:
        if any(character in root for character in GLOB_CHARACTERS):
            raise StoreError(f"TABLES_DIR (or LOOSH_HOME) {root!r} contains one of {GLOB_CHARACTERS}; rename it")
        # What another process wrote must be seen: an object store's client would cache listings for good.
        self._fs, self._root = fsspec.core.url_to_fs(root, use_listings_cache=False)
        self._local = isinstance(self._fs, LocalFileSystem)
        self._fs.makedirs(self._root, exist_ok=True)

    def check_writable(self) -> None:
        """Write a file and remove it. Raises StoreError with the reason; an object store is not asked."""
        if not self._local:
            return
        probe = os.path.join(self._root, f".{uuid.uuid4().hex}.tmp")
        try:
            try:
                with open(probe, "xb") as file:
                    file.write(b"\0" * PROBE_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(probe)
        except OSError as error:
            raise StoreError(f"the tables cannot be written: {error.strerror}; make room, or repair it") from error

    def check_listed(self) -> None:
        """Look what an object store holds here; nothing is written. Raises StoreError with the reason."""
        bucket = self._root.lstrip("/").partition("/")[0]
        try:
            try:
                self._fs.ls(self._root, detail=False)
            except FileNotFoundError:  # nothing was written yet, unless there is no bucket either
                self._fs.ls(bucket, detail=False)
        except FileNotFoundError as error:
            raise StoreError(f"is not there: no bucket {bucket}; make it, or set TABLES_DIR right") from error
        except Exception as error:  # whatever the store's own client raises
            raise StoreError(
                f"cannot be listed ({type(error).__name__}: {error}); check its name, the credentials and the network"
            ) from error

    def path(self, asset: str, key: TableKey) -> str:
        return f"{self._directory(asset, key.day)}/{key.file}"

    def write(self, asset: str, key: TableKey, frame: pl.DataFrame) -> WrittenTable:
        """Write a table, replacing what an earlier attempt left."""
        return self._put(self.path(asset, key), _parquet_bytes(frame), frame.height, replace=True)

    def write_once(self, asset: str, key: TableKey, frame: pl.DataFrame) -> WrittenTable:
        """Write a table unless it exists; then keep what is there and say so (`existed`)."""
        return self._put(self.path(asset, key), _parquet_bytes(frame), frame.height, replace=False)

    def exists(self, asset: str, key: TableKey) -> bool:
        return bool(self._fs.exists(self.path(asset, key)))

    def read(self, asset: str, key: TableKey) -> pl.DataFrame:
        """The rows of a table. Raises StoreError that names the missing file and the asset to materialize."""
        return _rows(self.path(asset, key), self._content(asset, key))

    def describe(self, asset: str, key: TableKey) -> WrittenTable:
        """What lies on disk for a key. Raises StoreError like `read`."""
        path, content = self.path(asset, key), self._content(asset, key)
        return WrittenTable(
            path, _rows(path, content).height, len(content), hashlib.sha256(content).hexdigest(), existed=True
        )

    def _content(self, asset: str, key: TableKey) -> bytes:
        path = self.path(asset, key)
        try:
            content: bytes = self._fs.cat_file(path)
        except FileNotFoundError as error:
            raise StoreError(f"no table {path}; materialize {asset} for this partition first") from error
        return content

    def latest(self, asset: str) -> pl.DataFrame | None:
        """The rows of the newest table of an asset whose names sort by time; None when there is none."""
        newest = next(self.newest_first(asset), None)
        return None if newest is None else self.read(asset, newest)

    def newest_first(self, asset: str, until: date | None = None) -> Iterator[TableKey]:
        """Keys of an asset's tables, the newest first where names sort by time; `until` leaves out later days."""
        for day in reversed(self.days(asset)):
            if until is None or day <= until:
                files = self._fs.glob(f"{self._directory(asset, day)}/*.parquet")
                yield from (TableKey.named(day, os.path.basename(file)) for file in sorted(files, reverse=True))

    def days(self, asset: str) -> list[date]:
        """Days for which an asset has tables, oldest first. Raises StoreError where nobody can tell."""
        directory = f"{self._root}/{asset}"
        try:
            paths = self._fs.ls(directory, detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot list the tables in {directory}: {error}; see that it can be read") from error
        names = (os.path.basename(path.rstrip("/")) for path in paths)
        return sorted(date.fromisoformat(found[1]) for name in names if (found := DAY.fullmatch(name)))

    def files(self, asset: str, day: date) -> list[TableFile]:
        """The files of an asset's day, in one look at the directory."""
        directory = self._directory(asset, day)
        try:
            if self._local:
                return list(_local_files(directory))
            listed = map(_remote_file, self._fs.ls(directory, detail=True))
            return [each for each in listed if each.name.endswith(".parquet")]
        except FileNotFoundError:
            return []

    def read_files(self, asset: str, day: date, names: Sequence[str], schema: Mapping[str, Any]) -> pl.DataFrame:
        """Some columns of many files at once, and before them the `file` of each row; null is what a file lacks.

        Raises StoreError that names a file which cannot be read.
        """
        paths = {f"{self._directory(asset, day)}/{name}": name for name in names}
        try:
            return self._scan(paths, {"schema": dict(schema), "missing_columns": "insert", "extra_columns": "ignore"})
        except (pl.exceptions.PolarsError, OSError) as error:
            for name in names:
                self.read(asset, TableKey.named(day, name))
            raise StoreError(f"{asset} of {day} cannot be read: {error}") from error

    def _scan(self, paths: Mapping[str, str], how: Any) -> pl.DataFrame:
        columns = ["file", *how["schema"]]
        if not paths:
            return pl.DataFrame(schema={"file": pl.String, **how["schema"]})
        if self._local:
            rows = pl.scan_parquet(list(paths), glob=False, include_file_paths="path", **how).collect()
            of_path = pl.DataFrame(list(paths.items()), schema={"path": pl.String, "file": pl.String}, orient="row")
            return rows.join(of_path, on="path", how="left").select(columns)
        items = list(paths.items())
        parts = (dict(items[at : at + OBJECTS_AT_ONCE]) for at in range(0, len(items), OBJECTS_AT_ONCE))
        return pl.concat([self._scan_objects(each, how) for each in parts]).select(columns)

    def _scan_objects(self, paths: Mapping[str, str], how: Any) -> pl.DataFrame:
        contents = self._fs.cat(list(paths))
        frames = (pl.scan_parquet(io.BytesIO(contents[path]), **how) for path in paths)
        named = [frame.with_columns(file=pl.lit(name)) for frame, name in zip(frames, paths.values(), strict=True)]
        return pl.concat(named).collect()

    def each(self, asset: str, day: date) -> Iterator[tuple[TableKey, pl.DataFrame]]:
        """Every table of an asset's day as it was written, in order of names and versions; few are held at once.

        One that is deleted meanwhile is left out. Raises StoreError that names a file which cannot be read.
        """
        for file in sorted(self.files(asset, day)):
            key = TableKey.named(day, file.name)
            try:
                content = self._fs.cat_file(self.path(asset, key))
            except FileNotFoundError:
                continue
            yield key, _rows(self.path(asset, key), content)

    def remove(self, asset: str, key: TableKey) -> None:
        """Delete a table that can be made again; one that is not there is no error."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self.path(asset, key))

    def remove_day(self, asset: str, day: date) -> None:
        """The same for all tables of a day, but for those that are written meanwhile."""
        try:
            self._fs.rm(self._directory(asset, day), recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise

    def _directory(self, asset: str, day: date) -> str:
        return f"{self._root}/{asset}/day={day.isoformat()}"

    def register_views(self, connection: SqlConnection, assets: Iterable[str], since: date | None = None) -> list[str]:
        """Create a DuckDB view for every asset that has tables; returns the names of those that have.

        `since` leaves out older days, so that a query over a lookback does not open the whole history.
        """
        if not self._local:
            self._make_known(connection)
        created = []
        for asset in assets:
            globs = [
                f"{self._directory(asset, day)}/*.parquet" for day in self.days(asset) if since is None or day >= since
            ]
            globs = [pattern for pattern in globs if self._fs.glob(pattern)]
            if not globs:
                continue
            listing = ", ".join(self._sql_text(pattern) for pattern in globs)
            connection.execute(
                f'CREATE OR REPLACE VIEW "{asset}" AS SELECT * FROM read_parquet([{listing}], union_by_name=true)'
            )
            created.append(asset)
        return created

    def _make_known(self, connection: SqlConnection) -> None:
        protocols = [self._fs.protocol] if isinstance(self._fs.protocol, str) else list(self._fs.protocol)
        if not any(connection.filesystem_is_registered(protocol) for protocol in protocols):
            connection.register_filesystem(self._fs)

    def _sql_text(self, path: str) -> str:
        address = path if self._local else self._fs.unstrip_protocol(path)
        return "'" + address.replace("'", "''") + "'"

    def _put(self, path: str, content: bytes, rows: int, *, replace: bool) -> WrittenTable:
        self._fs.makedirs(os.path.dirname(path), exist_ok=True)
        existed = not (self._put_local if self._local else self._put_remote)(path, content, replace)
        if existed:
            content = self._fs.cat_file(path)
            rows = _rows(path, content).height
        return WrittenTable(path, rows, len(content), hashlib.sha256(content).hexdigest(), existed)

    def _put_local(self, path: str, content: bytes, replace: bool) -> bool:
        """Write to a temporary name, sync, then rename; a power cut leaves the old file or the new one."""
        temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        _sync_directory(os.path.dirname(path))
        return True

    def _put_remote(self, path: str, content: bytes, replace: bool) -> bool:
        """Object stores put whole objects. One that cannot be asked to put only what is new leaves a race between
        two first writers at the same instant.
        """
        if not replace and self._fs.exists(path):
            return False
        try:
            self._fs.pipe_file(path, content, mode="overwrite" if replace else "create")
        except FileExistsError:
            return False
        return True


def _local_files(directory: str) -> Iterator[TableFile]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.endswith(".parquet"):
                continue
            try:
                found = entry.stat()
            except FileNotFoundError:  # deleted since
                continue
            # A file is replaced by renaming another one over it: the inode tells where the clock is too coarse to.
            stamp = f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"
            yield TableFile(entry.name, stamp, int(found.st_mtime) // SECONDS_PER_H)


def _remote_file(info: Mapping[str, Any]) -> TableFile:
    """From what an object store lists; one that says neither when nor as which version tells nothing apart."""
    name = os.path.basename(info["name"].rstrip("/"))
    told = {field: info[field] for field in VERSION_FIELDS if info.get(field)}
    at = next((value for value in told.values() if isinstance(value, datetime)), _EPOCH)
    stamp = f"{info['size']}-{'-'.join(map(str, told.values()))}" if told else ""
    return TableFile(name, stamp, int(at.timestamp()) // SECONDS_PER_H)


def _rows(path: str, content: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise StoreError(f"{path} is no readable table: {error}; delete it and materialize it again") from error


def _parquet_bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

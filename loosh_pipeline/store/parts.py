"""Parts: many tables of one schema in one Parquet file.

    file | the tables' own columns …    the rows of one table after the other

`file` is the name of a row's table. Which tables a part holds, also those without rows, is in the file's footer, with
what `Tables.describe` says of the original. A group of rows holds whole tables, so that one table is read without the
others of the part.

Arrow is imported by what uses it: it takes a tenth of a second and 40 MB, which most processes never need.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from bisect import bisect_right
from collections.abc import Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import polars as pl

from loosh_pipeline.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FILE = "file"
KEY = b"loosh.tables"
LEVEL = 6
"""Of zstd. Answers gain 3 % more from 9 and 11 % from 15, all else nothing, in two and ten times the time."""
GROUP_BYTES = 2 * 1024 * 1024
GROUP_TABLES = 250
"""What one group of rows holds at most, in memory: as much is decoded to read one table."""
ALL_ROWS = 2**31
SIMPLE = frozenset({
    pl.String, pl.Binary, pl.Boolean, pl.Date, pl.Datetime, pl.Duration, pl.Float32, pl.Float64,
    pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
})  # fmt: skip
"""Types that come out of a part as they went in."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A table as it goes into a part, and what is to be known of its original."""

    file: str
    frame: pl.DataFrame
    size_bytes: int
    sha256: str
    stamp: str = ""
    hour: int = 0


class Held(NamedTuple):
    """One table in a part. `at`: its first row there; the rest is that of the original."""

    at: int
    rows: int
    size_bytes: int
    sha256: str
    stamp: str
    hour: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part by its footer. `removed`: names of tables of which earlier parts hold rows that count no more."""

    path: str
    number: int
    made_at: datetime
    schema: str
    tables: dict[str, Held]
    removed: frozenset[str]
    footer: pq.FileMetaData = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)

    @property
    def last(self) -> str:
        """The last of its tables; nothing where it holds none."""
        return next(reversed(self.tables), "")

    def group(self, held: Held) -> int:
        """The group of rows in which a table lies."""
        return bisect_right(self.starts, held.at) - 1

    def cut(self, group: pl.DataFrame, held: Held) -> pl.DataFrame:
        """The rows of a table, of those of its group."""
        return group.slice(held.at - self.starts[self.group(held)], held.rows)


def holds(schema: pl.Schema) -> bool:
    """Whether tables of a schema can lie in parts."""
    return bool(schema) and FILE not in schema and all(map(_holds_type, schema.values()))


def _holds_type(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return _holds_type(dtype.inner)  # type: ignore[arg-type]  # an instance, once it is read
    if isinstance(dtype, pl.Struct):
        return bool(dtype.fields) and all(_holds_type(each.dtype) for each in dtype.fields)  # type: ignore[arg-type]
    return dtype.base_type() in SIMPLE


def schema_id(schema: pl.Schema) -> str:
    """The same for tables that can lie in one part."""
    return json.dumps([[name, str(dtype)] for name, dtype in schema.items()], ensure_ascii=False)


class PartWriter:
    """Takes tables of one schema, one by one, in order of their names; what it holds is compressed."""

    def __init__(self, schema: pl.Schema, level: int = LEVEL) -> None:
        import pyarrow.parquet as pq

        self._schema, self._buffer = schema, io.BytesIO()
        named = pl.DataFrame(schema={FILE: pl.String, **schema})
        self._arrow = _arrow(named).schema
        # Measures hardly ever repeat; their bytes do, when each of the eight is put with its like: a sixth less.
        numbers = [name for name, dtype in schema.items() if dtype.is_float()]
        repeating = [name for name in (FILE, *schema) if name not in numbers]
        self._writer = pq.ParquetWriter(
            self._buffer,
            self._arrow,
            compression="zstd",
            compression_level=level,
            write_statistics=[FILE],
            use_dictionary=repeating,
            use_byte_stream_split=numbers,
        )
        self._pending: list[Whole] = []
        self._pending_bytes = 0
        self._tables: dict[str, Held] = {}
        self._rows = 0
        self.bytes_before = 0

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def files(self) -> KeysView[str]:
        """Names of its tables so far."""
        return self._tables.keys()

    @property
    def size_bytes(self) -> int:
        return self._buffer.tell() + self._pending_bytes

    def add(self, table: Whole) -> None:
        """Raises StoreError for one that comes out of order."""
        if self._tables and table.file <= next(reversed(self._tables)):
            raise StoreError(f"{table.file} comes too late: tables go into a part in order of their names, each once")
        rows = table.frame.height
        about = table.size_bytes, table.sha256, table.stamp, table.hour
        self._tables[table.file] = Held(self._rows, rows, *about)
        self._rows += rows
        self.bytes_before += table.size_bytes
        self._pending.append(table)
        self._pending_bytes += int(table.frame.estimated_size())
        if self._pending_bytes >= GROUP_BYTES or len(self._pending) >= GROUP_TABLES:
            self._flush()

    def _flush(self) -> None:
        frame = pl.concat([each.frame for each in self._pending])
        files = [name for each in self._pending for name in [each.file] * each.frame.height]
        self._pending, self._pending_bytes = [], 0
        if not frame.is_empty():
            named = frame.select(pl.Series(FILE, files, pl.String), pl.all())
            self._writer.write_table(_arrow(named).cast(self._arrow), row_group_size=ALL_ROWS)

    def finish(self, made_at: datetime) -> bytes:
        """The bytes of the part; nothing can be added to it afterwards."""
        if self._pending:
            self._flush()
        self._writer.add_key_value_metadata({KEY: _said(made_at, schema_id(self._schema), self._tables, ())})
        self._writer.close()
        return self._buffer.getvalue()


def removal(files: Iterable[str], made_at: datetime) -> bytes:
    """A part that holds nothing and says that these tables are no more."""
    import pyarrow.parquet as pq

    buffer, schema = io.BytesIO(), _arrow(pl.DataFrame(schema={FILE: pl.String})).schema
    with pq.ParquetWriter(buffer, schema) as writer:
        writer.add_key_value_metadata({KEY: _said(made_at, "", {}, sorted(files))})
    return buffer.getvalue()


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _said(made_at: datetime, schema: str, tables: Mapping[str, Held], removed: Sequence[str]) -> bytes:
    about = {"made_at": made_at.isoformat(), "schema": schema, "removed": removed}
    rows = [[file, *held[1:]] for file, held in tables.items()]
    said = json.dumps({**about, "tables": rows}, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(said.encode(), 9))


def opened(path: str, number: int, file: IO[bytes]) -> Part:
    """A part by its open file. Raises StoreError for a file that is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.ParquetFile(file).metadata
        said = json.loads(zlib.decompress(base64.b64decode(footer.metadata[KEY])))
        tables, at = {}, 0
        for name, rows, *about in said["tables"]:
            tables[name] = Held(at, rows, *about)
            at += rows
        made_at = datetime.fromisoformat(said["made_at"]).astimezone(UTC)
    except (pa.ArrowException, KeyError, TypeError, ValueError, zlib.error) as error:
        raise StoreError(f"{path} is no part of tables: {error!r}; put it back from a backup") from error
    counts = (footer.row_group(each).num_rows for each in range(footer.num_row_groups))
    starts = tuple(accumulate(counts, initial=0))[:-1]
    return Part(path, number, made_at, said["schema"], tables, frozenset(said["removed"]), footer, starts)


def read_groups(
    part: Part, file: IO[bytes], groups: Sequence[int], columns: Sequence[str] | None = None, *, ahead: bool = False
) -> pl.DataFrame:
    """Some groups of rows of a part, with `file`. `ahead`: reads what is near in one, as it is far away."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(file, metadata=part.footer, pre_buffer=ahead)
    known = None if columns is None else [FILE, *(each for each in columns if each in reader.schema_arrow.names)]
    try:
        found: Any = pl.from_arrow(reader.read_row_groups(list(groups), columns=known, use_threads=False))
    except pa.ArrowException as error:
        raise StoreError(f"{part.path} cannot be read: {error}; put it back from a backup") from error
    frame: pl.DataFrame = found
    return frame

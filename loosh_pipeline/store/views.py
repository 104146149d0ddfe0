"""Tables as views of a DuckDB connection: every table once, whether it lies in a file of its own or in a part.

What a view reads is chosen when it is made: the tables that are there then, each from where it lies for at least
`compaction_plan.KEPT` more. So query it within that time, or make it anew: later it raises DuckDB's IOException, once
its files have moved, and shows nothing that came since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any, Protocol

from loosh_pipeline.store.closed import Closed, newest
from loosh_pipeline.store.objects import Objects, TableFile
from loosh_pipeline.store.parts import FILE, Part


class SqlConnection(Protocol):
    """What `register_views` needs of a DuckDB connection."""

    def execute(self, query: str) -> object: ...

    def filesystem_is_registered(self, name: str) -> bool: ...

    def register_filesystem(self, filesystem: Any) -> None: ...


class Views:
    """Makes SQL of where tables lie."""

    def __init__(self, objects: Objects, closed: Closed, directory: Callable[[str, date], str]) -> None:
        self._objects, self._closed, self._directory = objects, closed, directory

    def make_known(self, connection: SqlConnection) -> None:
        """Let a connection read files of an object store."""
        if self._objects.local:
            return
        fs = self._objects.fs
        protocols = [fs.protocol] if isinstance(fs.protocol, str) else list(fs.protocol)
        if not any(connection.filesystem_is_registered(protocol) for protocol in protocols):
            connection.register_filesystem(fs)

    def of(self, asset: str, days: Iterable[date]) -> str | None:
        """A query for all rows of an asset on some days; None where it has no table then."""
        plain: list[str] = []
        queries: list[str] = []
        for day in days:
            directory = self._directory(asset, day)
            originals, parts = self._objects.listed(directory), self._closed.parts(asset, day)
            if not parts:
                plain += [f"{directory}/*.parquet"] if originals else []
                continue
            queries += _of_parts(day, parts, originals, self._sql_text)
            # What a part holds as well is read from there: its file may be removed before the query is made.
            plain += [f"{directory}/{each}" for each in _not_held(parts, originals)]
        if plain:
            listing = _list(plain, self._sql_text)
            queries.append(f"SELECT * FROM read_parquet([{listing}], union_by_name=true, hive_partitioning=true)")
        # The day comes last, as ever.
        return f"SELECT * EXCLUDE (day), day FROM ({' UNION ALL BY NAME '.join(queries)})" if queries else None

    def _sql_text(self, text: str) -> str:
        address = text if self._objects.local else self._objects.fs.unstrip_protocol(text)
        return quoted(address)


def _not_held(parts: Sequence[Part], originals: Sequence[TableFile]) -> list[str]:
    found = newest(parts)
    return sorted(
        each.name
        for each in originals
        if not each.stamp or each.name not in found or found[each.name][1].stamp != each.stamp
    )


def _of_parts(
    day: date, parts: Sequence[Part], originals: Sequence[TableFile], address: Callable[[str], str]
) -> Iterator[str]:
    """Each part's rows that count: but for those of tables that a file of its own or a later part holds otherwise.

    With the day, which DuckDB makes a column of where it is in a file's path.
    """
    found, apart = newest(parts), set(_not_held(parts, originals))
    for part in parts:
        counting = {name for name in part.tables if name in found and found[name][0] is part and name not in apart}
        if not counting:
            continue
        source = f"read_parquet({address(part.path)}, hive_partitioning=false)"
        query = f"SELECT * EXCLUDE ({FILE}), DATE '{day.isoformat()}' AS day FROM {source}"
        left_out = part.tables.keys() - counting
        if len(left_out) > len(counting):
            query += f" WHERE {FILE} IN ({_list(sorted(counting), quoted)})"
        elif left_out:
            query += f" WHERE {FILE} NOT IN ({_list(sorted(left_out), quoted)})"
        yield query


def _list(texts: Iterable[str], said: Callable[[str], str]) -> str:
    return ", ".join(map(said, texts))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

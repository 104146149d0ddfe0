"""What a validator's database file holds, moved into a database on a server: `loosh move-database`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Integer, MetaData, Table, Text, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.store.database import open_database, reading
from loosh_pipeline.store.push_sessions import SIGNED, UNSIGNED
from loosh_pipeline.store.schema import flags, held_runs, hosts, inbox_metadata, ingress_keys, sessions
from loosh_pipeline.store.users import Users

OF_NOW = (hosts, held_runs, ingress_keys)
"""What is said anew by processes that start."""
TOGETHER = 500


def move_database(file: Path, users_file: Path, url: str) -> Mapping[str, int]:
    """Copy everything of the file into the database at `url`, in one transaction; the file stays as it is.

    Returns how many rows each table got, and `users`. The validator must not run. Raises ConfigError where there is
    nothing to move, or the database there holds something already, and StoreError when either cannot be used.
    """
    if not file.exists():
        raise ConfigError(f"there is no {file} (DB_PATH): nothing is to be moved")
    source, target = open_database(f"sqlite:///{file}", "inbox"), open_database(url, "inbox")
    try:
        with reading(source) as before, target.begin() as after:
            _require_empty(after, target)
            moved = {table.name: _copy(table, before, after) for table in inbox_metadata.sorted_tables}
            for table in inbox_metadata.sorted_tables:
                _go_on_counting(table, after)
    except (SQLAlchemyError, ValueError) as error:  # such as a text with a NUL, which Postgres does not keep
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StoreError(f"nothing was moved: {said}; the file is as it was, try again") from error
    finally:
        source.dispose()
        target.dispose()
    with closing(Users.open(url)) as users:
        moved["users"] = users.take_along(users_file)
    return {name: count for name, count in moved.items() if count}


def _require_empty(after: Connection, target: Engine) -> None:
    shown = target.url.render_as_string(hide_password=True)
    for table in inbox_metadata.sorted_tables:
        if table is flags or table in OF_NOW:
            continue
        after.execute(text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))
        if after.execute(select(func.count()).select_from(table)).scalar_one():
            raise ConfigError(f"{shown} (DATABASE_URL) holds {table.name} already; name an empty database")


def _copy(table: Table, before: Connection, after: Connection) -> int:
    if table in OF_NOW:
        return 0
    after.execute(table.delete())  # flags of a start
    same, count = _as_written(table), 0
    for rows in _rows(same, before):
        after.execute(same.insert(), rows)
        count += len(rows)
    return count


def _as_written(table: Table) -> Table:
    """The table with JSON as the text that it is: no value is read, and none differs."""
    same = table.to_metadata(MetaData())
    for column in same.columns:
        if isinstance(column.type, JSON):
            column.type = Text()
    return same


def _rows(table: Table, before: Connection) -> Iterator[list[dict[str, Any]]]:
    query = select(table)
    if table.name == sessions.name:  # whoever opened one here opens another
        query = query.where(table.c.role.not_in((SIGNED, UNSIGNED)))
    with closing(before.execution_options(yield_per=TOGETHER).execute(query)) as found:
        for some in found.mappings().partitions():
            yield [dict(row) for row in some]


def _go_on_counting(table: Table, after: Connection) -> None:
    """Numbers that the server gives follow those that were moved."""
    (key, *others) = table.primary_key.columns
    if not others and isinstance(key.type, Integer) and after.dialect.name == "postgresql":
        last = after.execute(select(func.max(key))).scalar_one()
        if last is not None:
            after.execute(select(func.setval(func.pg_get_serial_sequence(table.name, key.name), last)))

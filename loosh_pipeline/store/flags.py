"""Single values that a validator notes, by name, with when they were noted."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.store.schema import flags

MOST_CHARS = 64
"""The longest value."""


class Noted(NamedTuple):
    at: datetime
    value: str


def flag(connection: Connection, name: str) -> Noted | None:
    """What was noted last under a name; None when nothing ever was."""
    query = select(flags.c.changed_at, flags.c.value).where(flags.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else Noted(row.changed_at, str(row.value))


def set_flag(connection: Connection, name: str, value: str, now: datetime) -> None:
    """Note a value in the place of what was noted under that name; what is too long is cut."""
    change = {"value": value[:MOST_CHARS], "changed_at": now}
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(flags).values(name=name, **change)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=change))

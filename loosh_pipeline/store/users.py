"""Users that registered with this validator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.database import open_database, reading
from loosh_pipeline.store.schema import users

MAX_USERS = 100_000
"""Anybody may register, and users are kept for good."""


TOGETHER = 500
"""Users that are taken over in one transaction."""


class Users:
    """Registered hotkeys. Registering twice is the same as once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Users:
        return cls(open_database(url, "users"))

    def close(self) -> None:
        """Give the connections back, which on SQLite takes the log of writes away with the last of them."""
        self._engine.dispose()

    def take_along(self, file: Path) -> int:
        """Keep the users of a file of this project's, which a server has taken the place of; returns how many were
        new. The file stays as it is.
        """
        if not file.exists():
            return 0
        before = open_database(f"sqlite:///{file}", "users")
        try:
            with reading(before) as connection:
                known = [tuple(row) for row in connection.execute(select(users))]
        finally:
            before.dispose()
        return self.take_over((Hotkey(hotkey), created, updated) for hotkey, created, updated in known)[0]

    def register(self, hotkey: Hotkey, now: datetime) -> None:
        """Keep a user. Raises StoreError when it is a new one and MAX_USERS are kept already."""
        with self._engine.begin() as connection:
            known = connection.execute(update(users).where(users.c.hotkey == hotkey).values(updated_at=now))
        if known.rowcount:
            return
        if self.count() >= MAX_USERS:
            raise StoreError(f"{MAX_USERS} users are registered, which is as many as are kept")
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        row = insert(users).values(hotkey=hotkey, created_at=now, updated_at=now)
        with self._engine.begin() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=["hotkey"], set_={"updated_at": now}))

    def take_over(self, known: Iterable[tuple[Hotkey, datetime, datetime]]) -> tuple[int, int]:
        """Keep users of elsewhere, each since when and last seen; those who are here stay as they are.

        Returns how many were new, and how many found no room (MAX_USERS).
        """
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        new = full = 0
        room = MAX_USERS - self.count()
        for some in _together(known):
            with self._engine.begin() as connection:
                there = users.c.hotkey.in_([hotkey for hotkey, _, _ in some])
                here = set(connection.execute(select(users.c.hotkey).where(there)).scalars())
                rows = {h: {"hotkey": h, "created_at": at, "updated_at": seen} for h, at, seen in some if h not in here}
                kept = list(rows.values())[: max(room - new, 0)]
                if kept:
                    connection.execute(insert(users).on_conflict_do_nothing(), kept)
            new, full = new + len(kept), full + len(rows) - len(kept)
        return new, full

    def count(self) -> int:
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(users)).scalar_one()


def _together(known: Iterable[tuple[Hotkey, datetime, datetime]]) -> Iterator[list[tuple[Hotkey, datetime, datetime]]]:
    rows = iter(known)
    while some := list(islice(rows, TOGETHER)):
        yield some

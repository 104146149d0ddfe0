"""Users that registered with this validator."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.database import open_database, reading
from loosh_pipeline.store.schema import users

MAX_USERS = 100_000
"""Anybody may register, and users are kept for good."""


class Users:
    """Registered hotkeys. Registering twice is the same as once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Users:
        return cls(open_database(url, "users"))

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

    def count(self) -> int:
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(users)).scalar_one()

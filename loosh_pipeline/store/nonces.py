"""Which signed nonces were used, on disk, so that nothing is accepted twice: not after a restart either."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import NonceUsed
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import nonces, sessions


@dataclass(frozen=True, slots=True)
class Nonce:
    """A signed value that is accepted once. After `alive_until` it is too old to be accepted anyway."""

    hotkey: Hotkey
    value: str
    alive_until: datetime


class Nonces:
    """Used nonces. What is recorded is bounded by time: `forget` drops what is too old to matter."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def use(self, nonce: Nonce) -> None:
        """Record a nonce. Raises NonceUsed when it was recorded before."""
        with self._engine.begin() as connection:
            if not record_nonces(connection, [nonce]):
                raise NonceUsed(used_before(nonce))

    def forget(self, now: datetime) -> int:
        """Drop what can no longer be replayed, and keys of sessions that are over; returns how many are left."""
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_at < now))
            connection.execute(delete(nonces).where(nonces.c.alive_until < now))
        return self.count()

    def count(self) -> int:
        with reading(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(nonces)).scalar_one()


def record_nonces(connection: Connection, wanted: Sequence[Nonce]) -> Collection[tuple[str, str]]:
    """Record nonces, all different, in a transaction that is open; returns those that are new."""
    if not wanted:
        return ()
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    rows = [{"hotkey": each.hotkey, "nonce": each.value, "alive_until": each.alive_until} for each in wanted]
    statement = insert(nonces).on_conflict_do_nothing().returning(nonces.c.hotkey, nonces.c.nonce)
    return {(row.hotkey, row.nonce) for row in connection.execute(statement, rows)}


def used_before(nonce: Nonce) -> str:
    return f"nonce {nonce.value[:64]!r} was used before; sign each request anew"

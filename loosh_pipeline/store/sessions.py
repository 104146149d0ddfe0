"""Sessions that this validator opened, kept so that neither the next challenge nor a restart costs a handshake.

The keys lie in the validator's database as they are: whoever can read that file can read what was said under them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from datetime import datetime
from functools import cached_property

from sqlalchemy import Engine, and_, delete, insert, or_, select

from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import sessions
from loosh_pipeline.wire.client_sessions import SESSION_TTL, Session, SessionBook

CLIENT = "client"
MAX_SESSIONS = 4096
"""Far more than a subnet has neurons; beyond it those that expire first give way."""


class MinerSessions:
    """The sessions with miners. Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, peers: Collection[str], now: datetime) -> SessionBook:
        """The open sessions with these peers.

        One that expires later than a new one would was stored by a clock that was ahead, and is not used.
        """
        query = select(sessions.c.peer, sessions.c.uuid, sessions.c.symmetric_key, sessions.c.expires_at).where(
            sessions.c.role == CLIENT,
            sessions.c.peer.in_(peers),
            sessions.c.expires_at > now,
            sessions.c.expires_at <= now + SESSION_TTL,
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(sessions.c.expires_at)).all()
        return SessionBook({row.peer: Session(bytes(row.symmetric_key), row.uuid, row.expires_at) for row in rows})

    def save(self, book: SessionBook, now: datetime) -> None:
        """Keep what was opened, forget what was refused or has expired."""
        gone = [
            and_(sessions.c.peer == peer, sessions.c.uuid.in_(uuids)) for peer, uuids in book.refused.items() if uuids
        ]
        dead = or_(sessions.c.expires_at <= now, sessions.c.peer.in_(book.opened), *gone)
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.role == CLIENT, dead))
            if book.opened:
                connection.execute(insert(sessions), [_row(peer, one) for peer, one in book.opened.items()])
            newest = (
                select(sessions.c.uuid)
                .where(sessions.c.role == CLIENT)
                .order_by(sessions.c.expires_at.desc(), sessions.c.uuid)
                .limit(MAX_SESSIONS)
            )
            connection.execute(delete(sessions).where(sessions.c.role == CLIENT, sessions.c.uuid.not_in(newest)))


class ApiSessionStore:
    """The sessions with the Challenge API. `engine` is opened when the first is needed."""

    def __init__(self, engine: Callable[[], Engine], own_hotkey: str) -> None:
        self._open = engine
        self._own_hotkey = own_hotkey

    @cached_property
    def _engine(self) -> Engine:
        return self._open()

    def get(self, peer: str) -> Session | None:
        """The newest session with a peer, expired or not."""
        query = (
            select(sessions.c.uuid, sessions.c.symmetric_key, sessions.c.expires_at)
            .where(sessions.c.role == CLIENT, sessions.c.peer == self._name(peer))
            .order_by(sessions.c.expires_at.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Session(bytes(row.symmetric_key), row.uuid, row.expires_at)

    def put(self, peer: str, session: Session) -> None:
        name = self._name(peer)
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.role == CLIENT, sessions.c.peer == name))
            connection.execute(insert(sessions), [_row(name, session)])

    def drop(self, peer: str, uuid: str) -> None:
        """Forget this session with a peer; not one that has taken its place."""
        ours = sessions.c.role == CLIENT, sessions.c.peer == self._name(peer), sessions.c.uuid == uuid
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(*ours))

    def _name(self, peer: str) -> str:
        # a URL may be longer than the column, and must not be taken for a miner's
        return "api " + hashlib.sha256(f"{self._own_hotkey} {peer}".encode()).hexdigest()


def _row(peer: str, session: Session) -> dict[str, object]:
    return {
        "role": CLIENT,
        "peer": peer,
        "uuid": session.uuid,
        "symmetric_key": session.key,
        "expires_at": session.expires_at,
    }

"""What several ingresses of a validator share, so that a challenge may come to another one than its key exchange.

One key pair for all of them, made by whoever is first, and the sessions that were opened with it. Keys lie in the
database as they are: whoever can read it can read what was pushed under them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlalchemy import Engine, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import ingress_keys, sessions
from loosh_pipeline.wire.crypto import generate_private_key

SIGNED, UNSIGNED = "server", "unsigned"
"""Roles: sessions that their hotkey signed for, and those that nobody did."""
KEY_PAIR = "push"


@dataclass(frozen=True, slots=True)
class PushSession:
    """The key of a session that a peer has opened. `signed`: its hotkey signed for it."""

    key: bytes
    signed: bool
    expires_at: datetime


class PushSessions:
    """Every method is one short transaction. `most`: sessions of either role that are kept."""

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine = engine
        self._most = most
        self._insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert

    def key_pair(self, now: datetime) -> RSAPrivateKey:
        """The one of all ingresses; whoever is first makes it. Raises StoreError for one that cannot be read."""
        stored = select(ingress_keys.c.private_pem).where(ingress_keys.c.name == KEY_PAIR)
        with reading(self._engine) as connection:
            pem = connection.execute(stored).scalar_one_or_none()
        if pem is None:
            new = {"name": KEY_PAIR, "private_pem": _pem(generate_private_key()), "created_at": now}
            with self._engine.begin() as connection:
                connection.execute(self._insert(ingress_keys).values(new).on_conflict_do_nothing())
                pem = connection.execute(stored).scalar_one()
        return _private_key(bytes(pem))

    def put(self, hotkey: str, key_uuid: str, session: PushSession, now: datetime) -> None:
        """Keep a session, in place of one of the same name; of too many, those that expire first give way."""
        role = SIGNED if session.signed else UNSIGNED
        named = {"role": role, "peer": hotkey, "uuid": key_uuid}
        value = {"symmetric_key": session.key, "expires_at": session.expires_at}
        kept = self._insert(sessions).values({**named, **value})
        newest = select(sessions.c.expires_at).where(sessions.c.role == role).order_by(sessions.c.expires_at.desc())
        with self._engine.begin() as connection:
            connection.execute(kept.on_conflict_do_update(index_elements=list(named), set_=value))
            full = connection.execute(newest.offset(self._most).limit(1)).scalar_one_or_none()
            gone = (
                sessions.c.expires_at <= now
                if full is None
                else or_(sessions.c.expires_at <= now, sessions.c.expires_at <= full)
            )
            connection.execute(delete(sessions).where(sessions.c.role == role, gone))

    def find(self, hotkey: str, key_uuid: str, now: datetime) -> PushSession | None:
        """An open session, one that is signed for before another; None when no ingress has opened it."""
        query = select(sessions.c.role, sessions.c.symmetric_key, sessions.c.expires_at).where(
            sessions.c.role.in_((SIGNED, UNSIGNED)),
            sessions.c.peer == hotkey,
            sessions.c.uuid == key_uuid,
            sessions.c.expires_at > now,
        )
        with reading(self._engine) as connection:
            rows = {row.role: row for row in connection.execute(query)}
        row = rows.get(SIGNED, rows.get(UNSIGNED))
        return None if row is None else PushSession(bytes(row.symmetric_key), row.role == SIGNED, row.expires_at)


def _pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_key(pem: bytes) -> RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{_BROKEN} cannot be read ({error}); {_REMEDY}") from error
    if not isinstance(key, RSAPrivateKey):
        raise StoreError(f"{_BROKEN} is no RSA key; {_REMEDY}")
    return key


_BROKEN = f"the key pair of the ingresses (ingress_keys, {KEY_PAIR!r})"
_REMEDY = "delete that row and restart every ingress: senders agree on new keys by themselves"

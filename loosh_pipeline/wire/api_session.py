"""The session with the Challenge API: opened once, kept between processes, renewed when it is refused.

GET  /fiber/public-key      {"public_key": PEM}
POST /fiber/key-exchange    encrypted_symmetric_key (base64), key_uuid, timestamp, signature, validator_hotkey_ss58
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.api_http import MAX_ANSWER_BYTES, Reply, send
from loosh_pipeline.wire.client_sessions import Session, SessionStore
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import Signer, encrypt_symmetric_key, load_public_key, new_symmetric_key
from loosh_pipeline.wire.messages import (
    KEY_EXCHANGE_PATH,
    PUBLIC_KEY_PATH,
    build_api_key_exchange,
    new_uuid,
    parse_exchange_success,
    parse_public_key,
)


class HandshakeRefused(WireError):
    """The API answered a handshake with another status than 200."""

    def __init__(self, what: str, reply: Reply) -> None:
        super().__init__(f"handshake: {what} was answered with {reply.said()}")
        self.reply = reply


SESSION_LIFE = timedelta(hours=1)
RENEWED_BEFORE_ITS_END = timedelta(minutes=1)


class ApiSessions:
    """Opens and renews the session with one API. `clock` gives unix seconds."""

    def __init__(self, peer: str, signer: Signer, store: SessionStore, clock: Callable[[], float]) -> None:
        self._peer = peer
        self._signer = signer
        self._store = store
        self._clock = clock

    async def current(self, http: httpx.AsyncClient) -> tuple[Session, bool]:
        """A session to use, and whether it was opened just now. Raises WireError, or what httpx does."""
        held = self._store.get(self._peer)
        if held is not None and self._now() + RENEWED_BEFORE_ITS_END < held.expires_at:
            return held, False
        return await self._open(http), True

    async def instead_of(self, refused: Session, http: httpx.AsyncClient) -> Session:
        """The session to use after one was refused: another process's newer one, or a fresh one."""
        self._store.drop(self._peer, refused.uuid)
        session, _ = await self.current(http)
        return session

    async def _open(self, http: httpx.AsyncClient) -> Session:
        public_key = load_public_key(parse_public_key(await _handshake(http, "GET", PUBLIC_KEY_PATH)))
        now_s = self._clock()
        session = Session(new_symmetric_key(), new_uuid(), self._now() + SESSION_LIFE)
        ciphertext = encrypt_symmetric_key(public_key, session.key)
        body = build_api_key_exchange(self._signer, session.uuid, ciphertext, timestamp_s=now_s)
        if not parse_exchange_success(await _handshake(http, "POST", KEY_EXCHANGE_PATH, encode_json(body))):
            raise WireError("key exchange was answered without success")
        self._store.put(self._peer, session)
        return session

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


async def _handshake(http: httpx.AsyncClient, method: str, path: str, content: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"} if content else None
    reply = await send(http, method, path, content, headers, MAX_ANSWER_BYTES)
    if reply.status != 200:
        raise HandshakeRefused(f"{method} {path}", reply)
    return reply.body

"""Opening sessions for those who push encrypted challenges, without the event loop waiting for RSA or the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from ingress.intake import unavailable
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError, NonceUsed
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.nonces import Nonce, Nonces
from loosh_pipeline.store.push_sessions import PushSession, PushSessions
from loosh_pipeline.wire.messages import KeyExchange
from loosh_pipeline.wire.sessions import KEY_TTL_S, HandshakeServer, SessionKeys

WORKERS = 2
MAX_UNDER_WAY = 32
AGAIN_S = 1.0
STORE_S = 15.0
MAX_NAME_CHARS = 128
"""Of a hotkey or a session: none that was opened has a longer one."""

T = TypeVar("T")


class Handshakes:
    """One key pair and the sessions opened with it, in memory: after a restart, peers shake hands again. Where other
    ingresses share them, they lie in the database too, which is asked for a session that is not known here.

    Sessions that nobody signed for are kept apart, and counted by address, so that a stranger who takes a known
    hotkey's name can push nobody's sessions out.
    """

    def __init__(
        self,
        settings: Settings,
        nonces: Nonces,
        *,
        private_key: RSAPrivateKey | None = None,
        shared: PushSessions | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nonces = nonces
        self._shared = shared
        self._known = frozenset(settings.intake_hotkeys) if settings.intake_auth == "required" else None
        self._clock = clock
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="handshake")
        self._under_way = 0
        bounds = {"max_per_hotkey": settings.intake_sessions_per_hotkey, "max_total": settings.intake_max_sessions}
        if private_key is None and shared is not None:
            private_key = shared.key_pair(datetime.fromtimestamp(clock(), UTC))
        self._signed = HandshakeServer(
            private_key=private_key,
            keys=SessionKeys(**bounds),
            window_s=settings.intake_window_s,
            clock=clock,
        )
        self._unsigned_keys = SessionKeys(**bounds)

    @property
    def public_pem(self) -> str:
        return self._signed.public_pem

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def check_time(self, exchange: KeyExchange) -> None:
        """Raises 401 for an exchange that was not made now, by this server's clock."""
        try:
            self._signed.check_time(exchange)
        except CryptoError as error:
            raise HTTPException(401, str(error)) from error

    async def open(self, exchange: KeyExchange, nonce: Nonce | None, address: str) -> None:
        """Open the session of an exchange that was let pass; `nonce` is given when it is signed.

        Raises 401 for one that was used before, 400 for a key that cannot be decrypted, and 503 when too many are
        under way.
        """
        try:
            key = await self._aside(self._key, exchange, nonce)
        except NonceUsed as error:
            raise HTTPException(401, "this key exchange was used before; make a new one") from error
        except CryptoError as error:
            raise HTTPException(400, f"Failed to exchange symmetric key: {error}") from error
        keys = self._unsigned_keys if nonce is None else self._signed.keys
        keys.put(exchange.hotkey, exchange.key_uuid, key, now_s=self._clock(), address=address)

    def _key(self, exchange: KeyExchange, nonce: Nonce | None) -> bytes:
        if nonce is not None:
            self._nonces.use(nonce)
        key = self._signed.decrypt(exchange)
        if self._shared is not None:
            now_s = self._clock()
            session = PushSession(key, nonce is not None, datetime.fromtimestamp(now_s + KEY_TTL_S, UTC))
            self._shared.put(exchange.hotkey, exchange.key_uuid, session, datetime.fromtimestamp(now_s, UTC))
        return key

    async def _aside(self, work: Callable[..., T], *given: object) -> T:
        """Do what takes a moment beside the event loop. Raises 503 when too much is under way, or the store is away."""
        if self._under_way >= MAX_UNDER_WAY:
            raise unavailable(f"{self._under_way} key exchanges are under way; try again", AGAIN_S)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)
        except OperationalError as error:
            raise unavailable("the store cannot be used; try again", STORE_S) from error
        finally:
            self._under_way -= 1

    def session_key(self, hotkey: str, key_uuid: str) -> tuple[bytes | None, bool]:
        """The key of an open session, None when it is unknown or expired; and whether its hotkey signed for it."""
        now_s = self._clock()
        signed = self._signed.keys.get(hotkey, key_uuid, now_s=now_s)
        return (signed, True) if signed else (self._unsigned_keys.get(hotkey, key_uuid, now_s=now_s), False)

    async def session(self, hotkey: str, key_uuid: str) -> tuple[bytes | None, bool]:
        """As `session_key`, also of a session that another ingress opened."""
        found = self.session_key(hotkey, key_uuid)
        return found if found[0] is not None else await self.opened_elsewhere(hotkey, key_uuid)

    async def opened_elsewhere(self, hotkey: str, key_uuid: str, but: bytes | None = None) -> tuple[bytes | None, bool]:
        """The session of that name that another ingress opened, if its key is another than `but`; from now on it is
        known here. Who cannot have one costs no question.
        """
        if self._shared is None or not self._may_have_one(hotkey, key_uuid):
            return None, False
        now_s = self._clock()
        found = await self._aside(self._shared.find, hotkey, key_uuid, datetime.fromtimestamp(now_s, UTC))
        if found is None or found.key == but:
            return None, False
        keys = self._signed.keys if found.signed else self._unsigned_keys
        keys.put(Hotkey(hotkey), key_uuid, found.key, now_s=now_s, expires_at_s=found.expires_at.timestamp())
        return found.key, found.signed

    def _may_have_one(self, hotkey: str, key_uuid: str) -> bool:
        if self._known is not None and hotkey not in self._known:
            return False
        return len(hotkey) <= MAX_NAME_CHARS and len(key_uuid) <= MAX_NAME_CHARS and (hotkey + key_uuid).isprintable()

    def figures(self) -> dict[str, int]:
        """How many sessions are open, and for how many hotkeys."""
        for keys in (self._signed.keys, self._unsigned_keys):
            keys.drop_expired(self._clock())
        return {
            "active_hotkeys": len(self._signed.keys.hotkeys | self._unsigned_keys.hotkeys),
            "total_symmetric_keys": len(self._signed.keys) + len(self._unsigned_keys),
            "key_ttl_seconds": int(KEY_TTL_S),
        }

"""Opening sessions for those who push encrypted challenges, without the event loop waiting for RSA or the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from ingress.intake import unavailable
from loosh_pipeline.errors import CryptoError, NonceUsed
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.nonces import Nonce, Nonces
from loosh_pipeline.wire.messages import KeyExchange
from loosh_pipeline.wire.sessions import KEY_TTL_S, HandshakeServer, SessionKeys

WORKERS = 2
MAX_UNDER_WAY = 32
AGAIN_S = 1.0
STORE_S = 15.0


class Handshakes:
    """One key pair and the sessions opened with it, in memory: after a restart, peers shake hands again.

    Sessions that nobody signed for are kept apart, and counted by address, so that a stranger who takes a known
    hotkey's name can push nobody's sessions out.
    """

    def __init__(
        self,
        settings: Settings,
        nonces: Nonces,
        *,
        private_key: RSAPrivateKey | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nonces = nonces
        self._clock = clock
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="handshake")
        self._under_way = 0
        bounds = {"max_per_hotkey": settings.intake_sessions_per_hotkey, "max_total": settings.intake_max_sessions}
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
        if self._under_way >= MAX_UNDER_WAY:
            raise unavailable(f"{self._under_way} key exchanges are under way; try again", AGAIN_S)
        self._under_way += 1
        try:
            key = await asyncio.get_running_loop().run_in_executor(self._pool, self._key, exchange, nonce)
        except NonceUsed as error:
            raise HTTPException(401, "this key exchange was used before; make a new one") from error
        except OperationalError as error:
            raise unavailable("the store cannot be written; try again", STORE_S) from error
        except CryptoError as error:
            raise HTTPException(400, f"Failed to exchange symmetric key: {error}") from error
        finally:
            self._under_way -= 1
        keys = self._unsigned_keys if nonce is None else self._signed.keys
        keys.put(exchange.hotkey, exchange.key_uuid, key, now_s=self._clock(), address=address)

    def _key(self, exchange: KeyExchange, nonce: Nonce | None) -> bytes:
        if nonce is not None:
            self._nonces.use(nonce)
        return self._signed.decrypt(exchange)

    def session_key(self, hotkey: str, key_uuid: str) -> tuple[bytes | None, bool]:
        """The key of an open session, None when it is unknown or expired; and whether its hotkey signed for it."""
        now_s = self._clock()
        signed = self._signed.keys.get(hotkey, key_uuid, now_s=now_s)
        return (signed, True) if signed else (self._unsigned_keys.get(hotkey, key_uuid, now_s=now_s), False)

    def figures(self) -> dict[str, int]:
        """How many sessions are open, and for how many hotkeys."""
        for keys in (self._signed.keys, self._unsigned_keys):
            keys.drop_expired(self._clock())
        return {
            "active_hotkeys": len(self._signed.keys.hotkeys | self._unsigned_keys.hotkeys),
            "total_symmetric_keys": len(self._signed.keys) + len(self._unsigned_keys),
            "key_ttl_seconds": int(KEY_TTL_S),
        }

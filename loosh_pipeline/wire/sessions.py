"""The server side of the handshake: keys handed to hotkeys that proved who they are.

Every memory here is bounded in size and in time, and nothing a stranger sends is remembered, or costs a
private-key operation, before its signature was verified.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.wire.crypto import (
    decrypt_symmetric_key,
    generate_private_key,
    public_pem,
    verify_signature,
)
from loosh_pipeline.wire.messages import KeyExchange

KEY_TTL_S = 3600.0
EXCHANGE_WINDOW_S = 60.0


class NonceMemory:
    """Which nonces were used, until the time each could no longer be accepted anyway.

    When `max_entries` nonces are alive it refuses new ones: forgetting one instead would let it be replayed.
    """

    def __init__(self, *, max_entries: int = 10_000) -> None:
        self._max_entries = max_entries
        self._alive_until_s: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._alive_until_s)

    def use(self, hotkey: str, nonce: str, *, now_s: float, alive_until_s: float) -> None:
        """Record a nonce of `hotkey`. Raises CryptoError when it was used before, or memory is full."""
        key = (hotkey, nonce)
        if self._alive_until_s.get(key, now_s) > now_s:
            raise CryptoError(f"nonce {nonce!r} was used before")
        if len(self._alive_until_s) >= self._max_entries:
            self._forget_dead(now_s)
        if len(self._alive_until_s) >= self._max_entries:
            raise CryptoError(f"{self._max_entries} nonces are in use; try again in a minute")
        self._alive_until_s[key] = alive_until_s

    def _forget_dead(self, now_s: float) -> None:
        alive = {key: until_s for key, until_s in self._alive_until_s.items() if until_s > now_s}
        self._alive_until_s = alive


@dataclass(frozen=True, slots=True)
class _StoredKey:
    symmetric_key: bytes
    expires_at_s: float
    address: str


class SessionKeys:
    """Symmetric keys by hotkey and uuid. The oldest give way: per hotkey, and of all.

    Where it is known from which `address` a session was opened, the bound of a hotkey is one of hotkey and address, and
    of too many in all an address with most gives way: nobody can push the sessions of others out.
    """

    def __init__(self, *, ttl_s: float = KEY_TTL_S, max_per_hotkey: int = 16, max_total: int = 10_000) -> None:
        self._ttl_s = ttl_s
        self._max_per_hotkey = max_per_hotkey
        self._max_total = max_total
        self._keys: OrderedDict[tuple[Hotkey, str], _StoredKey] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def hotkeys(self) -> frozenset[Hotkey]:
        return frozenset(hotkey for hotkey, _ in self._keys)

    def put(
        self,
        hotkey: Hotkey,
        key_uuid: str,
        symmetric_key: bytes,
        *,
        now_s: float,
        address: str = "",
        expires_at_s: float | None = None,
    ) -> None:
        """Keep a key; `expires_at_s` where it was opened earlier, elsewhere."""
        self._keys.pop((hotkey, key_uuid), None)
        until_s = now_s + self._ttl_s if expires_at_s is None else min(expires_at_s, now_s + self._ttl_s)
        self._keys[hotkey, key_uuid] = _StoredKey(symmetric_key, until_s, address)
        self.drop_expired(now_s)
        same = [key for key, stored in self._keys.items() if key[0] == hotkey and stored.address == address]
        for key in same[: -self._max_per_hotkey]:
            del self._keys[key]
        while len(self._keys) > self._max_total:
            self._drop_one_of_most()

    def _drop_one_of_most(self) -> None:
        count = Counter(stored.address for stored in self._keys.values())
        most = count.most_common(1)[0][0]
        del self._keys[next(key for key, stored in self._keys.items() if stored.address == most)]

    def get(self, hotkey: str, key_uuid: str, *, now_s: float) -> bytes | None:
        stored = self._keys.get((Hotkey(hotkey), key_uuid))
        return None if stored is None or stored.expires_at_s <= now_s else stored.symmetric_key

    def drop_expired(self, now_s: float) -> None:
        while self._keys and next(iter(self._keys.values())).expires_at_s <= now_s:
            self._keys.popitem(last=False)


class HandshakeServer:
    """One RSA key pair, the sessions opened with it, and the nonces that opened them.

    Serves any dialect: a dialect parses its body into a `KeyExchange`. Not thread-safe, but for `decrypt`, which is
    the private-key operation and takes about a millisecond. `clock` gives unix seconds. `open_session` does all that a
    server with nonces in memory needs; one that keeps them on disk takes the steps one by one.
    """

    def __init__(
        self,
        *,
        private_key: RSAPrivateKey | None = None,
        keys: SessionKeys | None = None,
        nonces: NonceMemory | None = None,
        window_s: float = EXCHANGE_WINDOW_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._private_key = private_key or generate_private_key()
        self.public_pem = public_pem(self._private_key)
        self.keys = SessionKeys() if keys is None else keys
        self._nonces = NonceMemory() if nonces is None else nonces
        self._window_s = window_s
        self._clock = clock

    def open_session(self, exchange: KeyExchange) -> None:
        """Verify an exchange and keep its key. Raises CryptoError that says which check refused it."""
        self.check_time(exchange)
        verify_signature(exchange.message, exchange.signature, exchange.hotkey)
        alive_until_s = exchange.timestamp_s + self._window_s
        self._nonces.use(exchange.hotkey, exchange.once, now_s=self._clock(), alive_until_s=alive_until_s)
        symmetric_key = self.decrypt(exchange)
        self.keys.put(exchange.hotkey, exchange.key_uuid, symmetric_key, now_s=self._clock())

    def check_time(self, exchange: KeyExchange) -> None:
        """Raises CryptoError when the exchange was not made now, by this server's clock."""
        age_s = self._clock() - exchange.timestamp_s
        if abs(age_s) > self._window_s:
            raise CryptoError(f"timestamp is {age_s:.0f} s old; it must be within {self._window_s:g} s")

    def decrypt(self, exchange: KeyExchange) -> bytes:
        """The symmetric key of an exchange. Raises CryptoError when it was made for another public key."""
        return decrypt_symmetric_key(self._private_key, exchange.ciphertext)

    def session_key(self, hotkey: str, key_uuid: str) -> bytes | None:
        """The key of an open session; None when it is unknown or expired."""
        return self.keys.get(hotkey, key_uuid, now_s=self._clock())

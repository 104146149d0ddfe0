"""Who may push challenges: a signature of a known hotkey, the API key, or this machine."""

from __future__ import annotations

import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from starlette.exceptions import HTTPException

from ingress.callers import Caller
from ingress.rates import Rates
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.nonces import Nonce
from loosh_pipeline.wire.crypto import verify_signature
from loosh_pipeline.wire.headers import (
    API_KEY_HEADER,
    HOTKEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    verify_signature_headers,
)
from loosh_pipeline.wire.messages import KeyExchange

logger = logging.getLogger(__name__)

SIGNATURE_HEADERS = (HOTKEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
JSON = "application/json"
API_KEY_HOLDER = "api-key"
TELL_EVERY_S = 1.0
MAX_TOLD = 1000
"""Unknown hotkeys of which it is remembered that the log names them."""


class Door:
    """Decides by the rule of INTAKE_AUTH. Everything it refuses is an HTTPException with the reason.

    `clock` gives unix seconds: times that strangers state are compared with it, never used.
    """

    def __init__(self, settings: Settings, rates: Rates, *, clock: Callable[[], float] = time.time) -> None:
        self._mode = settings.intake_auth
        self._known = frozenset(settings.intake_hotkeys)
        key = settings.challenge_push_api_key
        self._api_key = key.get_secret_value().encode() if key is not None else None
        self._local_auth = settings.intake_local_auth
        self._window_s = settings.intake_window_s
        self._rates = rates
        self._clock = clock
        self._told: OrderedDict[Hotkey, None] = OrderedDict()
        self._told_s = float("-inf")

    def needs_none(self, caller: Caller) -> bool:
        """Whether a caller without any credential may push."""
        return self._mode != "required" or (caller.local and not self._local_auth)

    def glance(self, headers: Mapping[str, str], caller: Caller) -> None:
        """Refuse by the headers alone what no body can make right."""
        if caller.presents and (_signed(headers) or self._has_key(headers)):
            return
        if not self.needs_none(caller):
            raise unauthorized(_presented(headers) is not None)
        # A page in a browser here can send any other type to this machine, and needs no leave of ours for it.
        if caller.media_type != JSON and not caller.media_type.endswith("+json"):
            raise HTTPException(415, f"an unsigned challenge is sent with the header content-type: {JSON}")

    def pushed(self, headers: Mapping[str, str], body: bytes, caller: Caller) -> Nonce | None:
        """Let a plain POST pass that passed `glance`; returns the nonce that must be new."""
        if self._mode == "open" or not caller.presents:
            return None
        nonce = self._signature(headers, body) if _signed(headers) else None
        if self._has_key(headers):
            self._rates.count_hotkey(caller, API_KEY_HOLDER)
        elif nonce is not None:
            self._admit(nonce.hotkey, caller)
        elif not self.needs_none(caller):
            raise unauthorized(_presented(headers) is not None)
        return nonce

    def exchanged(self, exchange: KeyExchange, caller: Caller) -> Nonce | None:
        """Let a key exchange pass; returns the nonce that must be new, None when it is not signed."""
        if self._mode == "open" or (not exchange.signature and self.needs_none(caller)):
            return None
        if not exchange.signature:
            raise HTTPException(401, "the key exchange is not signed; sign {timestamp}.{hotkey}.{key_uuid}")
        try:
            verify_signature(exchange.message, exchange.signature, exchange.hotkey)
        except CryptoError as error:
            raise HTTPException(401, str(error)) from error
        self._admit(exchange.hotkey, caller)
        return self._nonce(exchange.hotkey, exchange.once, exchange.timestamp_s)

    def count(self, hotkey: str, caller: Caller) -> None:
        """Count a challenge that came through a session of `hotkey`. Raises 429."""
        self._rates.count_hotkey(caller, hotkey)

    def _signature(self, headers: Mapping[str, str], body: bytes) -> Nonce:
        try:
            call = verify_signature_headers(headers, body, now_s=self._clock(), window_s=self._window_s)
        except WireError as error:
            raise HTTPException(401, str(error)) from error
        return self._nonce(call.hotkey, call.nonce, float(call.nonce))

    def _admit(self, hotkey: Hotkey, caller: Caller) -> None:
        """Let a hotkey pass that proved to be one. Raises 403 for one that is not known."""
        if hotkey not in self._known and not self.needs_none(caller):
            self._tell(hotkey)
            raise HTTPException(403, f"hotkey {hotkey} may not push here; its operator adds it to INTAKE_HOTKEYS")
        self._rates.count_hotkey(caller, hotkey)

    def _tell(self, hotkey: Hotkey) -> None:
        """Name a hotkey to the operator, once and not too often: the log is not for strangers to fill."""
        now_s = time.monotonic()
        if hotkey not in self._told and now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._told[hotkey] = None
            if len(self._told) > MAX_TOLD:
                self._told.popitem(last=False)
            logger.warning("hotkey %s, which is not in INTAKE_HOTKEYS, tried to push; add it if it may", hotkey)

    def _nonce(self, hotkey: Hotkey, value: str, signed_at_s: float) -> Nonce:
        return Nonce(hotkey, value, datetime.fromtimestamp(signed_at_s + self._window_s, UTC))

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        presented = _presented(headers)
        return (
            self._api_key is not None
            and presented is not None
            and hmac.compare_digest(presented.encode("latin-1"), self._api_key)  # the bytes that were sent
        )


def _signed(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in SIGNATURE_HEADERS)


def _presented(headers: Mapping[str, str]) -> str | None:
    """The API key of a request, in either of its places."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get(API_KEY_HEADER)


def unauthorized(wrong_key: bool) -> HTTPException:
    said = "the API key is not the one that may push" if wrong_key else "nothing says who pushes"
    return HTTPException(
        401,
        f"{said}; sign with {', '.join(SIGNATURE_HEADERS)} of a hotkey that may push, or send the API key",
        headers={"WWW-Authenticate": "Bearer"},
    )

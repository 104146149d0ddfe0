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
from ingress.viewers import Viewers
from loosh_pipeline.chain.wallet import hotkey_of
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.nonces import Nonce
from loosh_pipeline.wire.headers import (
    API_KEY_HEADER,
    HOTKEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    verify_signature_headers,
)
from loosh_pipeline.wire.messages import API_HOTKEY_HEADER, KeyExchange, verify_binding
from loosh_pipeline.wire.push import verify_push_exchange

logger = logging.getLogger(__name__)

SIGNATURE_HEADERS = (HOTKEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
JSON = "application/json"
API_KEY_HOLDER = "api-key"
SEEN_HERE = (
    "this page shows prompts and answers: it is for the validator's own machine, as 127.0.0.1 or localhost with the "
    "port it serves on (through an SSH tunnel of that port too), for whoever signs in with PAGES_TOKEN, and for "
    "programs that send that or CHALLENGE_PUSH_API_KEY (Authorization: Bearer TOKEN); PAGES_PUBLIC=true shows it to all"
)
MEASURED_HERE = (
    "metrics are for the validator's own machine, and for holders of CHALLENGE_PUSH_API_KEY (Authorization: Bearer "
    "KEY); METRICS_PUBLIC=true shows them to everybody"
)
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
        self._require_binding = settings.intake_require_binding
        self._pages_public = settings.pages_public
        self.viewers = Viewers(settings.pages_token)
        self._metrics_public = settings.metrics_public
        self._own_hotkey = hotkey_of(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
        self._window_s = settings.intake_window_s
        self._rates = rates
        self._clock = clock
        self._told: OrderedDict[Hotkey, None] = OrderedDict()
        self._told_s = float("-inf")

    def needs_none(self, caller: Caller) -> bool:
        """Whether a caller without any credential may push."""
        if self._mode == "signature-optional":
            return True
        return caller.local and (self._mode == "open" or not self._local_auth)

    def _checks_none(self, caller: Caller) -> bool:
        """Whether no credential is looked at. Raises 403 for a page, or whoever else is not of this machine."""
        if self._mode == "open" and not caller.local:
            raise HTTPException(403, "INTAKE_AUTH=open is for programs on this machine, and this came from elsewhere")
        return self._mode == "open"

    def claim(self, headers: Mapping[str, str]) -> str | None:
        """Who that may push a request says it is from, as far as its headers tell; nothing is verified but the key."""
        if self._has_key(headers):
            return API_KEY_HOLDER
        hotkey = headers.get(HOTKEY_HEADER) or headers.get(API_HOTKEY_HEADER)
        return hotkey if hotkey in self._known else None

    def operates(self, headers: Mapping[str, str], body: bytes, caller: Caller) -> Nonce | None:
        """Let one pass that may stop the validator; returns the nonce that must be new, None when it is not signed.

        It is on this machine, and proves who it is where this machine has to: also by this validator's own hotkey.
        """
        if not caller.local:
            raise HTTPException(403, f"only from the validator's own machine, directly; this is from {caller.address}")
        if not self._local_auth or self._has_key(headers):
            return None
        if not _signed(headers):
            raise unauthorized(_presented(headers) is not None)
        nonce = self._signature(headers, body)
        if nonce.hotkey not in self._known and nonce.hotkey != self._own_hotkey:
            raise HTTPException(403, f"hotkey {nonce.hotkey} may not do this; sign with this validator's own")
        return nonce

    def sees(self, headers: Mapping[str, str], caller: Caller) -> None:
        """Let one pass that may see prompts, failures and pictures. Raises 403."""
        if not (self._pages_public or self.is_operator(headers, caller)):
            raise HTTPException(403, SEEN_HERE)

    def is_operator(self, headers: Mapping[str, str], caller: Caller) -> bool:
        """Whether whoever sees a page is the operator, and none of those whom PAGES_PUBLIC lets in."""
        return (caller.local and not self._local_auth) or self._views(headers)

    def _views(self, headers: Mapping[str, str]) -> bool:
        presented = _presented(headers)
        knows = presented is not None and self.viewers.knows(presented.encode("latin-1"))  # the bytes that were sent
        return knows or self._has_key(headers) or self.viewers.signed_in(headers)

    def measures(self, headers: Mapping[str, str], caller: Caller) -> None:
        """Let one pass that may see figures of everything. Raises 403."""
        if not (self._metrics_public or self._knows(headers, caller)):
            raise HTTPException(403, MEASURED_HERE)

    def _knows(self, headers: Mapping[str, str], caller: Caller) -> bool:
        """Whether a caller is on this machine, or knows the API key."""
        return (caller.local and not self._local_auth) or self._has_key(headers)

    def glance(self, headers: Mapping[str, str], caller: Caller) -> None:
        """Refuse by the headers alone what no body can make right."""
        self._checks_none(caller)
        if caller.presents and (_signed(headers) or self._has_key(headers)):
            return
        if not self.needs_none(caller):
            raise unauthorized(_presented(headers) is not None)
        # A page in a browser here can send any other type to this machine, and needs no leave of ours for it.
        if caller.media_type != JSON and not caller.media_type.endswith("+json"):
            raise HTTPException(415, f"an unsigned challenge is sent with the header content-type: {JSON}")

    def pushed(self, headers: Mapping[str, str], body: bytes, caller: Caller) -> Nonce | None:
        """Let a plain POST pass that passed `glance`; returns the nonce that must be new."""
        if self._checks_none(caller) or not caller.presents:
            return None
        nonce = self._signature(headers, body) if _signed(headers) else None
        if self._has_key(headers):
            self._rates.count_hotkey(caller, API_KEY_HOLDER)
        elif nonce is not None:
            self._admit(nonce.hotkey, caller)
        elif not self.needs_none(caller):
            raise unauthorized(_presented(headers) is not None)
        return nonce

    def count(self, exchange: KeyExchange, caller: Caller, cost: float) -> None:
        """Count a key exchange, which its signature, if it is right, takes back. Raises 429."""
        claim = exchange.hotkey if exchange.signature and exchange.hotkey in self._known else None
        self._rates.count_address(caller, cost, claim)

    def exchanged(self, exchange: KeyExchange, caller: Caller, cost: float) -> Nonce | None:
        """Let a key exchange pass that was counted; returns the nonce that must be new, None when it is not signed."""
        if self._checks_none(caller) or (not exchange.signature and self.needs_none(caller)):
            return None
        if not exchange.signature:
            raise HTTPException(401, "the key exchange is not signed; sign {timestamp}.{hotkey}.{key_uuid}")
        try:
            verify_push_exchange(exchange)
            if self._own_hotkey is not None:
                verify_binding(exchange, self._own_hotkey, required=self._require_binding)
            elif self._require_binding:
                raise CryptoError("INTAKE_REQUIRE_BINDING is set, and this validator's hotkey cannot be read")
        except CryptoError as error:
            raise HTTPException(401, str(error)) from error
        self._admit(exchange.hotkey, caller, cost)
        return self._nonce(exchange.hotkey, exchange.once, exchange.timestamp_s)

    def _signature(self, headers: Mapping[str, str], body: bytes) -> Nonce:
        try:
            call = verify_signature_headers(headers, body, now_s=self._clock(), window_s=self._window_s)
        except WireError as error:
            raise HTTPException(401, str(error)) from error
        return self._nonce(call.hotkey, call.nonce, float(call.nonce))

    def _admit(self, hotkey: Hotkey, caller: Caller, claimed: float = 1.0) -> None:
        """Let a hotkey pass that proved to be one. Raises 403 for one that is not known."""
        if hotkey not in self._known and not self.needs_none(caller):
            self._tell(hotkey)
            raise HTTPException(403, f"hotkey {hotkey} may not push here; its operator adds it to INTAKE_HOTKEYS")
        self._rates.count_hotkey(caller, hotkey, claimed)

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

"""Telling and asking the Challenge API: results encrypted, at least once, and in clear text only if that is allowed.

A delivery is a value, not an exception: the outbox keeps a payload until it is `delivered`, `already` or `refused`,
and tries again on `retry`. Asking raises, as there is nothing to keep.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar

import httpx

from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.api_calls import (
    CALLS,
    CLEAR_BATCH_HOTKEY_HEADER,
    CLEAR_BATCH_PATH,
    CLEAR_BATCH_TAKEN,
    SYBIL_SCORES_PATH,
    VALIDATORS_PATH,
    Call,
)
from loosh_pipeline.wire.api_http import Reply, send
from loosh_pipeline.wire.api_session import ApiSessions, HandshakeRefused
from loosh_pipeline.wire.bodies import retry_after_s
from loosh_pipeline.wire.client_sessions import MemorySessions, Session, SessionStore
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import Signer, seal
from loosh_pipeline.wire.headers import API_KEY_HEADER, signature_headers
from loosh_pipeline.wire.messages import API_HOTKEY_HEADER, API_UUID_HEADER
from loosh_pipeline.wire.network_view import ScoresSaid, ValidatorsSaid, parse_sybil_scores, parse_validators
from loosh_pipeline.wire.text import printable

logger = logging.getLogger(__name__)

MAX_VIEW_BYTES = 8 * 1024 * 1024
"""Cap on what the API says of all hotkeys: some hundred bytes each of a few hundred."""

MAX_CONNECT_S = 10.0
PAUSE_AFTER_SILENCE_S = 15.0
"""An API that cannot be reached is left alone for a while, or every evaluation would end by trying in vain. One that is
reached and slow may be slow over one payload alone.
"""

_TURNED_AWAY = frozenset({404, 408, 425})
_MAY_PASS = _TURNED_AWAY | {401, 429}
"""Refusals that need not concern what is said: a session, a route or a limit. Other 4xx are for good."""

T = TypeVar("T")


class DeliveryStatus(StrEnum):
    DELIVERED = "delivered"
    ALREADY = "already"
    RETRY = "retry"
    REFUSED = "refused"

    @property
    def final(self) -> bool:
        return self is not DeliveryStatus.RETRY


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one attempt. `retry_after_s`: how long nothing of that kind is to be told. `turned_away`: the API
    was there and did not want this, though perhaps later (404, 408, 425).
    """

    status: DeliveryStatus
    detail: str = ""
    retry_after_s: float | None = None
    turned_away: bool = False


class ChallengeApi(Protocol):
    """Takes what is told, and says what it knows of hotkeys.

    `tell` does not raise for anything the API or the network does; the other two raise WireError.
    """

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery: ...

    def validators(self) -> ValidatorsSaid: ...

    def sybil_scores(self, miners: Sequence[Hotkey]) -> ScoresSaid: ...


class HttpChallengeApi:
    """The Challenge API over HTTP.

    `timeout_s` is the time of a whole call, handshakes included: a server that sends a byte now and then cannot
    stretch it. The API key goes along over https or on this machine only, as a header is in the open otherwise.
    `sessions` keeps sessions beyond this process. Calls block, and are not for a thread that runs an event loop;
    threads may share an instance.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer,
        api_key: str | None = None,
        timeout_s: float = 25.0,
        *,
        sessions: SessionStore | None = None,
        allow_clear_text: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._timeout_s = timeout_s
        self._allow_clear_text = allow_clear_text
        self._transport = transport
        self._clock = clock
        self._last_nonce_s = 0.0
        https = httpx.URL(base_url).scheme == "https"
        # Loading root certificates takes long; where no TLS is spoken, nobody is trusted.
        self._tls = httpx.create_ssl_context(trust_env=False) if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._sessions = ApiSessions(self._base_url, signer, sessions or MemorySessions(), clock)
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "loosh-validator"}
        if api_key and _private(httpx.URL(base_url)):
            self._headers[API_KEY_HEADER] = api_key

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
        """Deliver one payload, which is sent byte for byte; every way this can fail is a delivery to be retried."""
        try:
            return self._run(lambda http: self._deliver(http, kind, payload))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return replace(_failed(error), retry_after_s=PAUSE_AFTER_SILENCE_S)
        except (TimeoutError, httpx.TimeoutException):
            return Delivery(DeliveryStatus.RETRY, f"not delivered within {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, WireError) as error:
            return _failed(error)
        except Exception as error:  # the payload stays in the outbox, whatever the API brought about
            logger.exception("delivering a %s failed unexpectedly", kind)
            return _failed(error)

    def validators(self) -> ValidatorsSaid:
        """Who validates. Raises WireError."""
        return parse_validators(self._ask("GET", VALIDATORS_PATH))

    def sybil_scores(self, miners: Sequence[Hotkey]) -> ScoresSaid:
        """What is thought of some miners. Raises WireError."""
        body = encode_json({"miner_hotkeys": list(miners)})
        return parse_sybil_scores(self._ask("POST", SYBIL_SCORES_PATH, body), miners)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        what = f"Challenge API: {method} {path}"
        try:
            reply = self._run(lambda http: self._signed(http, method, path, body, MAX_VIEW_BYTES))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise WireError(f"{what} was not answered within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise WireError(f"{what} failed: {_failed(error).detail}") from error
        if not httpx.codes.is_success(reply.status):
            raise WireError(f"{what} was answered with {reply.said()}")
        return reply.body

    def _run(self, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """`work` within `timeout_s`, with a client of its own: connections belong to an event loop."""

        async def bounded() -> T:
            async with asyncio.timeout(self._timeout_s), self._client() as http:
                return await work(http)

        return asyncio.run(bounded())

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._base_url,
            headers=self._headers,
            timeout=httpx.Timeout(self._timeout_s, connect=min(self._timeout_s / 2, MAX_CONNECT_S)),
            follow_redirects=False,
            trust_env=False,
            verify=self._tls,
            transport=self._transport,
        )

    async def _deliver(self, http: httpx.AsyncClient, kind: DeliveryKind, payload: bytes) -> Delivery:
        call = CALLS[kind]
        if not call.sealed:
            return self._judged(call, await self._signed(http, "POST", call.path, payload))
        try:
            reply = await self._sealed(http, call.path, payload)
            delivery, limited = self._judged(call, reply), reply.status == 429
        except HandshakeRefused as refused:
            wait_s, limited = self._retry_after_s(refused.reply), refused.reply.status == 429
            delivery = replace(_failed(refused), retry_after_s=wait_s)
        except WireError as error:
            delivery, limited = _failed(error), False
        may_help = kind is DeliveryKind.RESPONSE_BATCH and not delivery.status.final and not limited
        return await self._in_clear_text(http, payload, delivery) if self._allow_clear_text and may_help else delivery

    async def _sealed(self, http: httpx.AsyncClient, path: str, payload: bytes) -> Reply:
        """Send under a session. A refused one is replaced once, and one opened just now only on 401.

        Peers that lost their keys answer 401 or 400; but 400 to a fresh key concerns the payload.
        """
        session, fresh = await self._sessions.current(http)
        reply = await self._send_sealed(http, path, payload, session)
        if reply.status == 401 or (reply.status == 400 and not fresh):
            session = await self._sessions.instead_of(session, http)
            reply = await self._send_sealed(http, path, payload, session)
        return reply

    async def _send_sealed(self, http: httpx.AsyncClient, path: str, payload: bytes, session: Session) -> Reply:
        headers = {
            API_UUID_HEADER: session.uuid,
            API_HOTKEY_HEADER: self._signer.ss58_address,
            "Content-Type": "application/octet-stream",
        }
        return await send(http, "POST", path, seal(session.key, payload), headers)

    async def _signed(
        self, http: httpx.AsyncClient, method: str, path: str, body: bytes | None, whole_up_to: int | None = None
    ) -> Reply:
        headers = signature_headers(self._signer, body, now_s=self._nonce_s()) | {"Content-Type": "application/json"}
        if path == CLEAR_BATCH_PATH:
            headers[CLEAR_BATCH_HOTKEY_HEADER] = self._signer.ss58_address
        return await send(http, method, path, body, headers, whole_up_to)

    async def _in_clear_text(self, http: httpx.AsyncClient, payload: bytes, sealed: Delivery) -> Delivery:
        """Tell a result in the open, as an operator allowed. What this does not settle stays as it was."""
        logger.warning("the encrypted route failed (%s); telling in clear text, as settings allow", sealed.detail)
        try:
            reply = await self._signed(http, "POST", CLEAR_BATCH_PATH, payload)
        except httpx.HTTPError as error:
            return replace(sealed, detail=f"{sealed.detail}; in clear text: {_failed(error).detail}")
        said = f"in clear text: {reply.said()}"
        if reply.status == CLEAR_BATCH_TAKEN:
            return Delivery(DeliveryStatus.DELIVERED, said)
        if reply.status == 409:
            return Delivery(DeliveryStatus.ALREADY, said)
        return replace(sealed, detail=f"{sealed.detail}; {said}")

    def _judged(self, call: Call, reply: Reply) -> Delivery:
        said = reply.said()
        if reply.status in call.taken:
            return Delivery(DeliveryStatus.DELIVERED, said)
        if reply.status == 409:
            return Delivery(DeliveryStatus.ALREADY, said)
        if 400 <= reply.status < 500 and reply.status not in _MAY_PASS:
            return Delivery(DeliveryStatus.REFUSED, said)
        if reply.status < 300:
            said += f"; {' or '.join(map(str, sorted(call.taken)))} was expected"
        return Delivery(DeliveryStatus.RETRY, said, self._retry_after_s(reply), reply.status in _TURNED_AWAY)

    def _nonce_s(self) -> float:
        """The time, or a little later: a receiver takes each nonce once, and clocks can be coarse."""
        self._last_nonce_s = max(self._clock(), math.nextafter(self._last_nonce_s, math.inf))
        return self._last_nonce_s

    def _retry_after_s(self, reply: Reply) -> float | None:
        return retry_after_s(reply.headers, now_s=self._clock())


def _private(url: httpx.URL) -> bool:
    """Whether nobody in between can read what goes there."""
    if url.scheme == "https" or url.host == "localhost":
        return True
    try:
        return ip_address(url.host).is_loopback
    except ValueError:
        return False


def _failed(error: Exception) -> Delivery:
    return Delivery(DeliveryStatus.RETRY, printable(f"{type(error).__name__}: {error}"))

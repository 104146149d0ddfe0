"""Telling the Challenge API about a round: encrypted, at least once, and never in clear text.

A delivery is a value, not an exception: the outbox keeps a batch until it is `delivered`, `already` or
`refused`, and tries again on `retry`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.bodies import read_body, retry_after_s
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import (
    Signer,
    encrypt_symmetric_key,
    load_public_key,
    new_symmetric_key,
    seal,
)
from loosh_pipeline.wire.headers import API_KEY_HEADER
from loosh_pipeline.wire.messages import (
    API_HOTKEY_HEADER,
    API_UUID_HEADER,
    BATCH_PATH,
    KEY_EXCHANGE_PATH,
    PUBLIC_KEY_PATH,
    build_api_key_exchange,
    new_uuid,
    parse_exchange_success,
    parse_public_key,
)

logger = logging.getLogger(__name__)

SESSION_S = 3540.0
"""A session lasts an hour at the API; it is renewed a minute early."""

_MAX_ANSWER_BYTES = 64 * 1024
_SESSION_REFUSED = frozenset({400, 401})
"""Statuses that a new session may help against: peers that lost their keys answer either."""
_PAYLOAD_REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that concern the payload itself. Any other may pass: an outage, a limit, a missing permission."""


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
    """What became of one attempt. `retry_after_s` is what the API asked for, if it did."""

    status: DeliveryStatus
    detail: str = ""
    retry_after_s: float | None = None


class ChallengeApi(Protocol):
    """Takes response batches. `send_batch` does not raise for anything the API or the network does."""

    def send_batch(self, payload: Mapping[str, Any] | bytes) -> Delivery: ...


@dataclass(frozen=True, slots=True)
class _ApiSession:
    key: bytes
    uuid: str
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: httpx.Headers
    body: bytes


class HttpChallengeApi:
    """The Challenge API over HTTP, with one session that is kept between batches.

    `timeout_s` is the time of a whole delivery, handshakes included: a server that sends a byte now and then
    cannot stretch it. The API key goes along over https only, as a header is in the open otherwise. Threads may
    share an instance: at worst two of them open a session each. `send_batch` blocks, and is not for a thread
    that runs an event loop. Use as a context manager, or `close()`, after which the session is forgotten.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer,
        api_key: str | None = None,
        timeout_s: float = 25.0,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._timeout_s = timeout_s
        self._transport = transport
        self._clock = clock
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._session: _ApiSession | None = None
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "loosh-validator"}
        if api_key and base_url.startswith("https://"):
            self._headers[API_KEY_HEADER] = api_key

    def send_batch(self, payload: Mapping[str, Any] | bytes) -> Delivery:
        """Deliver one batch, given as JSON bytes or as what they encode. Raises WireError if it is no JSON."""
        plaintext = payload if isinstance(payload, bytes) else encode_json(payload)
        return asyncio.run(self._attempt(plaintext))

    def close(self) -> None:
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _attempt(self, plaintext: bytes) -> Delivery:
        """What became of the batch within `timeout_s`; every way it can fail is a delivery to be retried."""
        try:
            async with asyncio.timeout(self._timeout_s), self._client() as http:
                reply = await self._post(http, plaintext)
                if reply.status in _SESSION_REFUSED:
                    self._session = None
                    reply = await self._post(http, plaintext)
                return self._delivery(reply)
        except TimeoutError:
            return Delivery(DeliveryStatus.RETRY, f"not delivered within {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, WireError) as error:
            return _failed(error)
        except Exception as error:  # the batch stays in the outbox, whatever the API brought about
            logger.exception("delivering a batch failed unexpectedly")
            return _failed(error)

    def _client(self) -> httpx.AsyncClient:
        """A client for one delivery: connections belong to an event loop, and that ends with the delivery."""
        return httpx.AsyncClient(
            base_url=self._base_url,
            headers=self._headers,
            timeout=self._timeout_s,
            follow_redirects=False,
            trust_env=False,
            verify=self._tls,
            transport=self._transport,
        )

    async def _post(self, http: httpx.AsyncClient, plaintext: bytes) -> _Reply:
        session = await self._current_session(http)
        headers = {
            API_UUID_HEADER: session.uuid,
            API_HOTKEY_HEADER: self._signer.ss58_address,
            "Content-Type": "application/octet-stream",
        }
        return await _send(http, "POST", BATCH_PATH, seal(session.key, plaintext), headers)

    async def _current_session(self, http: httpx.AsyncClient) -> _ApiSession:
        session = self._session
        if session is None or self._clock() >= session.expires_at_s:
            session = self._session = await self._open_session(http)
        return session

    async def _open_session(self, http: httpx.AsyncClient) -> _ApiSession:
        public_key = load_public_key(parse_public_key(await _handshake(http, "GET", PUBLIC_KEY_PATH)))
        now_s = self._clock()
        session = _ApiSession(new_symmetric_key(), new_uuid(), now_s + SESSION_S)
        ciphertext = encrypt_symmetric_key(public_key, session.key)
        body = build_api_key_exchange(self._signer, session.uuid, ciphertext, timestamp_s=now_s)
        if not parse_exchange_success(await _handshake(http, "POST", KEY_EXCHANGE_PATH, encode_json(body))):
            raise WireError("key exchange was answered without success")
        return session

    def _delivery(self, reply: _Reply) -> Delivery:
        said = _said(reply)
        if reply.status in (200, 201):
            return Delivery(DeliveryStatus.DELIVERED, said)
        if reply.status == 409:
            return Delivery(DeliveryStatus.ALREADY, said)
        if reply.status in _PAYLOAD_REFUSED:
            return Delivery(DeliveryStatus.REFUSED, said)
        return Delivery(DeliveryStatus.RETRY, said, retry_after_s(reply.headers, now_s=self._clock()))


async def _handshake(http: httpx.AsyncClient, method: str, path: str, content: bytes | None = None) -> bytes:
    reply = await _send(http, method, path, content, {"Content-Type": "application/json"} if content else None)
    if reply.status != 200:
        raise WireError(f"handshake: {method} {path} was answered with {_said(reply)}")
    return reply.body


async def _send(
    http: httpx.AsyncClient, method: str, path: str, content: bytes | None, headers: Mapping[str, str] | None
) -> _Reply:
    async with http.stream(method, path, content=content, headers=headers) as response:
        try:
            body = await read_body(response, _MAX_ANSWER_BYTES)
        except WireError:
            body = b""  # the status says what happened; a handshake fails on the missing body
        return _Reply(response.status_code, response.headers, body)


def _failed(error: Exception) -> Delivery:
    return Delivery(DeliveryStatus.RETRY, f"{type(error).__name__}: {str(error)[:160]}")


def _said(reply: _Reply) -> str:
    text = reply.body[:120].decode("utf-8", "replace")
    return f"HTTP {reply.status}" + (f": {text}" if text.isprintable() and reply.status >= 300 else "")

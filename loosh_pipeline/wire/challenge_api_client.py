"""Telling the Challenge API about a round: encrypted, at least once, and never in clear text.

A delivery is a value, not an exception: the outbox keeps a batch until it is `delivered`, `already` or
`refused`, and tries again on `retry`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.bodies import read_body_sync, retry_after_s
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

SESSION_S = 3540.0
"""A session lasts an hour at the API; it is renewed a minute early."""

_MAX_ANSWER_BYTES = 64 * 1024
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

    The API key goes along over https only, as a header is in the open otherwise. Threads may share an
    instance: at worst two of them open a session each. Use as a context manager, or `close()`.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._session: _ApiSession | None = None
        headers = {"Accept-Encoding": "identity", "User-Agent": "loosh-validator"}
        if api_key and base_url.startswith("https://"):
            headers[API_KEY_HEADER] = api_key
        self._http = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    def send_batch(self, payload: Mapping[str, Any] | bytes) -> Delivery:
        """Deliver one batch, given as JSON bytes or as what they encode. Raises WireError if it is no JSON."""
        plaintext = payload if isinstance(payload, bytes) else encode_json(payload)
        try:
            reply = self._post(plaintext)
            if reply.status == 401:
                self._session = None
                reply = self._post(plaintext)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, WireError) as error:
            return Delivery(DeliveryStatus.RETRY, f"{type(error).__name__}: {str(error)[:160]}")
        return self._delivery(reply)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post(self, plaintext: bytes) -> _Reply:
        session = self._current_session()
        headers = {
            API_UUID_HEADER: session.uuid,
            API_HOTKEY_HEADER: self._signer.ss58_address,
            "Content-Type": "application/octet-stream",
        }
        return self._send("POST", BATCH_PATH, seal(session.key, plaintext), headers)

    def _current_session(self) -> _ApiSession:
        session = self._session
        if session is None or self._clock() >= session.expires_at_s:
            session = self._session = self._open_session()
        return session

    def _open_session(self) -> _ApiSession:
        public_key = load_public_key(parse_public_key(self._handshake("GET", PUBLIC_KEY_PATH)))
        now_s = self._clock()
        session = _ApiSession(new_symmetric_key(), new_uuid(), now_s + SESSION_S)
        ciphertext = encrypt_symmetric_key(public_key, session.key)
        body = build_api_key_exchange(self._signer, session.uuid, ciphertext, timestamp_s=now_s)
        if not parse_exchange_success(self._handshake("POST", KEY_EXCHANGE_PATH, encode_json(body))):
            raise WireError("key exchange was answered without success")
        return session

    def _handshake(self, method: str, path: str, content: bytes | None = None) -> bytes:
        reply = self._send(method, path, content, {"Content-Type": "application/json"} if content else None)
        if reply.status != 200:
            raise WireError(f"handshake: {method} {path} was answered with {_said(reply)}")
        return reply.body

    def _send(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str] | None) -> _Reply:
        with self._http.stream(method, path, content=content, headers=headers) as response:
            try:
                body = read_body_sync(response, _MAX_ANSWER_BYTES)
            except WireError:
                body = b""  # the status says what happened; a handshake fails on the missing body
            return _Reply(response.status_code, response.headers, body)

    def _delivery(self, reply: _Reply) -> Delivery:
        said = _said(reply)
        if reply.status in (200, 201):
            return Delivery(DeliveryStatus.DELIVERED, said)
        if reply.status == 409:
            return Delivery(DeliveryStatus.ALREADY, said)
        if reply.status in _PAYLOAD_REFUSED:
            return Delivery(DeliveryStatus.REFUSED, said)
        return Delivery(DeliveryStatus.RETRY, said, retry_after_s(reply.headers, now_s=self._clock()))


def _said(reply: _Reply) -> str:
    text = reply.body[:120].decode("utf-8", "replace")
    return f"HTTP {reply.status}" + (f": {text}" if text.isprintable() and reply.status >= 300 else "")

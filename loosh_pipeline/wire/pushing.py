"""Pushing challenges as the network does: plain with signature headers, or encrypted (dialect B)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.bodies import read_body
from loosh_pipeline.wire.codec import Fields, decode_object, encode_json
from loosh_pipeline.wire.crypto import (
    Signer,
    encrypt_symmetric_key,
    load_public_key,
    new_symmetric_key,
    seal,
)
from loosh_pipeline.wire.headers import API_KEY_HEADER, LINK_HEADER, signature_headers
from loosh_pipeline.wire.messages import (
    API_HOTKEY_HEADER,
    API_UUID_HEADER,
    CHALLENGE_PATH,
    KEY_EXCHANGE_PATH,
    PUBLIC_KEY_PATH,
    new_uuid,
    parse_exchange_success,
    parse_public_key,
)
from loosh_pipeline.wire.push import build_push_key_exchange

CHALLENGES_PATH = "/challenges"
CHALLENGE_API_PATH = "/challenge"
MAX_ANSWER_BYTES = 64 * 1024

_MAX_SAID_CHARS = 200
_MAX_LINK_CHARS = 256


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was said to one challenge: its status, or why there was none, and how long that took.

    `link`: the X-Challenge-Link as it came, empty for none; a receiver may say anything there.
    """

    status: int | None
    said: str = ""
    elapsed_ms: float = 0.0
    link: str = ""


class Sender(Protocol):
    """A way to push challenges. `send` does not raise for anything that the receiver or the network does."""

    async def send(self, http: httpx.AsyncClient, challenge: Mapping[str, Any]) -> Pushed: ...


@dataclass(frozen=True, slots=True)
class PlainSender:
    """JSON to `path`, signed when there is a signer, with the API key when there is one."""

    base_url: str
    path: str = CHALLENGES_PATH
    signer: Signer | None = None
    api_key: str | None = None

    async def send(self, http: httpx.AsyncClient, challenge: Mapping[str, Any]) -> Pushed:
        body = encode_json(challenge)
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers[API_KEY_HEADER] = self.api_key
        if self.signer is not None:
            headers |= signature_headers(self.signer, body, now_s=time.time())
        return await _pushed(http, self.base_url.rstrip("/") + self.path, body, headers)


class FiberSender:
    """Encrypted, in one session that is opened when it is needed, and once more when the validator forgot it.

    Without a signer the key exchange is not signed, and is made for `hotkey`. With the `recipient`'s hotkey it is of
    use to nobody else.
    """

    def __init__(
        self, base_url: str, signer: Signer | None, hotkey: str | None = None, recipient: str | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._hotkey = signer.ss58_address if signer is not None else hotkey
        self._recipient = recipient
        self._session: tuple[str, bytes] | None = None
        self._opening = asyncio.Lock()

    async def send(self, http: httpx.AsyncClient, challenge: Mapping[str, Any]) -> Pushed:
        plaintext = encode_json(challenge)
        pushed, used = await self._send(http, plaintext)
        if pushed.status == httpx.codes.UNAUTHORIZED and used is not None:
            async with self._opening:
                if self._session is used:
                    self._session = None
            pushed, _ = await self._send(http, plaintext)
        return pushed

    async def _send(self, http: httpx.AsyncClient, plaintext: bytes) -> tuple[Pushed, tuple[str, bytes] | None]:
        """What was said, and the session it was sent in; None when none could be opened."""
        started_s = time.perf_counter()
        try:
            async with self._opening:
                session = self._session = self._session or await self._open(http)
        except _Refused as refused:
            return Pushed(refused.status, str(refused), _ms_since(started_s)), None
        except (httpx.HTTPError, httpx.InvalidURL, WireError) as error:
            return Pushed(None, _said(f"{type(error).__name__}: {error}"), _ms_since(started_s)), None
        key_uuid, key = session
        headers = {
            API_UUID_HEADER: key_uuid,
            API_HOTKEY_HEADER: self._hotkey or "",
            "Content-Type": "application/octet-stream",
        }
        return await _pushed(http, self._base_url + CHALLENGE_PATH, seal(key, plaintext), headers), session

    async def _open(self, http: httpx.AsyncClient) -> tuple[str, bytes]:
        status, answer, _ = await _exchange(http, "GET", self._base_url + PUBLIC_KEY_PATH)
        if status != httpx.codes.OK:
            raise _Refused(status, _detail(answer))
        key, key_uuid = new_symmetric_key(), new_uuid()
        ciphertext = encrypt_symmetric_key(load_public_key(parse_public_key(answer)), key)
        body = build_push_key_exchange(
            self._signer,
            key_uuid,
            ciphertext,
            timestamp_s=time.time(),
            hotkey=self._hotkey,
            recipient=self._recipient,
        )
        headers = {"Content-Type": "application/json"}
        status, answer, _ = await _exchange(
            http, "POST", self._base_url + KEY_EXCHANGE_PATH, encode_json(body), headers
        )
        if status != httpx.codes.OK or not parse_exchange_success(answer):
            raise _Refused(status, _detail(answer))
        return key_uuid, key


class _Refused(Exception):
    """The session was not opened, with this status."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


def client(timeout_s: float, connections: int = 100) -> httpx.AsyncClient:
    """A client for pushing: no proxy from the environment, no redirects."""
    return httpx.AsyncClient(
        timeout=timeout_s,
        limits=httpx.Limits(max_connections=connections),
        headers={"Accept-Encoding": "identity", "User-Agent": "loosh"},
        follow_redirects=False,
        trust_env=False,
    )


async def _pushed(http: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> Pushed:
    started_s = time.perf_counter()
    try:
        status, answer, link = await _exchange(http, "POST", url, body, headers)
    except (httpx.HTTPError, httpx.InvalidURL, WireError) as error:
        return Pushed(None, _said(f"{type(error).__name__}: {error}"), _ms_since(started_s))
    said = "" if httpx.codes.is_success(status) else _detail(answer)
    return Pushed(status, said, _ms_since(started_s), _said(link, _MAX_LINK_CHARS))


async def _exchange(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes, str]:
    """Status, body, and the link that came with it."""
    async with http.stream(method, url, content=content, headers=headers) as reply:
        body = await read_body(reply, MAX_ANSWER_BYTES)
        return reply.status_code, body, reply.headers.get(LINK_HEADER, "")


def _detail(answer: bytes) -> str:
    """What a refusal says, by the network's `detail`; else its text."""
    try:
        detail = Fields(decode_object(answer, "refusal"), "refusal").values.get("detail")
    except WireError:
        detail = None
    if isinstance(detail, list):
        detail = "; ".join(_problem(each) for each in detail[:5] if isinstance(each, dict))
    return _said(str(detail) if detail else answer[:_MAX_SAID_CHARS].decode("utf-8", "replace"))


def _problem(each: Mapping[str, Any]) -> str:
    """One wrong field: where it is, and what is wrong with it."""
    loc = each.get("loc")
    where = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
    said = str(each.get("msg")).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _said(text: str, most: int = _MAX_SAID_CHARS) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:most])


def _ms_since(started_s: float) -> float:
    return 1000.0 * (time.perf_counter() - started_s)

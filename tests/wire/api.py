"""The Challenge API as a transport of httpx, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.wire.challenge_api_client import Delivery, HttpChallengeApi
from loosh_pipeline.wire.crypto import unseal
from loosh_pipeline.wire.messages import parse_api_key_exchange
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.wire.peers import VALIDATOR, rsa_key

BATCH = b'{"challenge_id": "c-1", "responses": []}'
KIND = DeliveryKind.RESPONSE_BATCH
NOW_S = 1_000_000.5
LATER = datetime.fromtimestamp(NOW_S, UTC) + timedelta(hours=1)


class Body(httpx.AsyncByteStream):
    """A body that arrives when it is read, as one from a socket does."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


class Api:
    """The API as a transport: a proper handshake, then answers by a list (the last one repeats).

    `overrides` answer for a route, by its path without /fiber/ and with underscores.
    """

    def __init__(self, *answers: httpx.Response | Exception, **overrides: httpx.Response | Exception) -> None:
        self.answers = answers or (httpx.Response(201),)
        self.overrides = overrides
        self.clear: httpx.Response | Exception | None = None
        self.handshakes = HandshakeServer(private_key=rsa_key(), clock=lambda: NOW_S)
        self.requests: list[httpx.Request] = []

    @property
    def paths(self) -> list[str]:
        return [request.url.path.removeprefix("/fiber/") for request in self.requests]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        name = request.url.path.strip("/").replace("-", "_").replace("/", "_").removeprefix("fiber_")
        clear = self.clear if request.url.path == "/response/batch" else None
        answer = clear or self.overrides.get(name) or getattr(self, name, self.response)(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Body(answer.content))

    def public_key(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"public_key": self.handshakes.public_pem})

    def key_exchange(self, request: httpx.Request) -> httpx.Response:
        self.handshakes.open_session(parse_api_key_exchange(request.content))
        return httpx.Response(200, json={"success": True})

    def response(self, request: httpx.Request) -> httpx.Response | Exception:
        sent = sum(path not in HANDSHAKE for path in self.paths)
        return self.answers[min(sent, len(self.answers)) - 1]

    def decrypted(self, request: httpx.Request) -> Any:
        key = self.handshakes.session_key(request.headers["hotkey-ss58-address"], request.headers["symmetric-key-uuid"])
        assert key is not None
        return unseal(key, request.content)


def client(api: Api, base_url: str = "https://api.test/", **options: Any) -> HttpChallengeApi:
    options = {"clock": lambda: NOW_S} | options
    return HttpChallengeApi(base_url, VALIDATOR, "secret", 5.0, transport=httpx.MockTransport(api), **options)


def deliver(api: Api, **options: Any) -> Delivery:
    return client(api, **options).tell(KIND, BATCH)


HANDSHAKE = ["public-key", "key-exchange"]
ONCE = [*HANDSHAKE, "response/batch"]

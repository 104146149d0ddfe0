"""Telling the Challenge API: every status it may answer with, and never a word in clear."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.bodies import retry_after_s
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus, HttpChallengeApi
from loosh_pipeline.wire.crypto import unseal
from loosh_pipeline.wire.fakes import FakeChallengeApi
from loosh_pipeline.wire.messages import parse_api_key_exchange
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.wire.peers import VALIDATOR, rsa_key

BATCH = {"challenge_id": "c-1", "responses": []}
NOW_S = 1_000_000.5


class Body(httpx.AsyncByteStream):
    """A body that arrives when it is read, as one from a socket does."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


class Api:
    """The API as a transport: a proper handshake, then batch answers by a list (the last one repeats)."""

    def __init__(self, *answers: httpx.Response | Exception, **overrides: httpx.Response | Exception) -> None:
        self.answers = answers or (httpx.Response(201),)
        self.overrides = overrides
        self.handshakes = HandshakeServer(private_key=rsa_key(), clock=lambda: NOW_S)
        self.requests: list[httpx.Request] = []

    @property
    def paths(self) -> list[str]:
        return [request.url.path.removeprefix("/fiber/") for request in self.requests]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        name = request.url.path.split("/")[2].replace("-", "_")
        answer = self.overrides.get(name) or getattr(self, name)(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Body(answer.content))

    def public_key(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"public_key": self.handshakes.public_pem})

    def key_exchange(self, request: httpx.Request) -> httpx.Response:
        self.handshakes.open_session(parse_api_key_exchange(request.content))
        return httpx.Response(200, json={"success": True})

    def response(self, request: httpx.Request) -> httpx.Response | Exception:
        sent = sum(path == "response/batch" for path in self.paths)
        return self.answers[min(sent, len(self.answers)) - 1]

    def decrypted(self, request: httpx.Request) -> Any:
        key = self.handshakes.session_key(request.headers["hotkey-ss58-address"], request.headers["symmetric-key-uuid"])
        assert key is not None
        return json.loads(unseal(key, request.content))


def client(api: Api, base_url: str = "https://api.test/", **options: Any) -> HttpChallengeApi:
    options = {"clock": lambda: NOW_S} | options
    return HttpChallengeApi(base_url, VALIDATOR, "secret", 5.0, transport=httpx.MockTransport(api), **options)


def deliver(api: Api) -> Delivery:
    with client(api) as challenge_api:
        return challenge_api.send_batch(BATCH)


HANDSHAKE = ["public-key", "key-exchange"]
ONCE = [*HANDSHAKE, "response/batch"]


def test_batch_arrives_encrypted() -> None:
    api = Api()
    assert deliver(api).status is DeliveryStatus.DELIVERED
    assert api.paths == ONCE
    assert api.decrypted(api.requests[-1]) == BATCH
    assert all(b"c-1" not in request.content for request in api.requests)


def test_bytes_are_sent_as_they_are() -> None:
    api = Api()
    with client(api) as challenge_api:
        challenge_api.send_batch(b'{"challenge_id":   "c-2"}')
    assert api.decrypted(api.requests[-1]) == {"challenge_id": "c-2"}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (httpx.Response(200), DeliveryStatus.DELIVERED),
        (httpx.Response(201), DeliveryStatus.DELIVERED),
        (httpx.Response(409), DeliveryStatus.ALREADY),
        (httpx.Response(413), DeliveryStatus.REFUSED),
        (httpx.Response(422), DeliveryStatus.REFUSED),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), DeliveryStatus.RETRY),
        (httpx.Response(403), DeliveryStatus.RETRY),
        (httpx.Response(404), DeliveryStatus.RETRY),
        (httpx.Response(429), DeliveryStatus.RETRY),
        (httpx.Response(500), DeliveryStatus.RETRY),
        (httpx.Response(503, content=b"x" * 100_000), DeliveryStatus.RETRY),
        (httpx.ConnectError("refused"), DeliveryStatus.RETRY),
        (httpx.ReadTimeout("slow"), DeliveryStatus.RETRY),
    ],
)
def test_status_decides(answer: httpx.Response | Exception, status: DeliveryStatus) -> None:
    api = Api(answer)
    delivery = deliver(api)
    assert delivery.status is status
    assert delivery.status.final is (status is not DeliveryStatus.RETRY)
    assert api.paths == ONCE, "nothing is sent anywhere else, whatever the answer"


def test_second_400_refuses_the_batch() -> None:
    api = Api(httpx.Response(400, json={"detail": "schema"}))
    assert deliver(api).status is DeliveryStatus.REFUSED
    assert api.paths == ONCE * 2


def test_refusal_says_what_the_api_said() -> None:
    assert "schema" in deliver(Api(httpx.Response(400, json={"detail": "schema"}))).detail


def test_retry_after_is_passed_on() -> None:
    assert deliver(Api(httpx.Response(429, headers={"retry-after": "17"}))).retry_after_s == 17.0


@pytest.mark.parametrize(
    "override",
    [
        {"public_key": httpx.Response(500)},
        {"public_key": httpx.Response(200, json={"public_key": "no"})},
        {"public_key": httpx.ConnectError("refused")},
        {"key_exchange": httpx.Response(200, json={"success": False})},
        {"key_exchange": httpx.Response(403, json={"detail": "who?"})},
        {"key_exchange": httpx.Response(200, content=b"x" * 100_000)},
    ],
)
def test_failed_handshake_is_retried_later_and_sends_nothing(override: dict[str, Any]) -> None:
    api = Api(**override)
    assert deliver(api).status is DeliveryStatus.RETRY
    assert "response/batch" not in api.paths


def test_session_is_kept_between_batches() -> None:
    api = Api()
    with client(api) as challenge_api:
        challenge_api.send_batch(BATCH)
        challenge_api.send_batch(BATCH)
    assert api.paths == [*ONCE, "response/batch"]


def test_session_is_renewed_a_minute_before_it_expires() -> None:
    api = Api()
    now_s = [NOW_S]
    api.handshakes = HandshakeServer(private_key=rsa_key(), clock=lambda: now_s[0])
    with client(api, clock=lambda: now_s[0]) as challenge_api:
        challenge_api.send_batch(BATCH)
        now_s[0] += 3541
        challenge_api.send_batch(BATCH)
    assert api.paths == ONCE * 2


@pytest.mark.parametrize("status", [400, 401])
def test_unknown_session_is_renewed_and_the_batch_sent_again_once(status: int) -> None:
    api = Api(httpx.Response(status), httpx.Response(201))
    assert deliver(api).status is DeliveryStatus.DELIVERED
    assert api.paths == ONCE * 2


def test_session_that_is_refused_again_is_tried_later() -> None:
    refusing = Api(httpx.Response(401))
    assert deliver(refusing).status is DeliveryStatus.RETRY
    assert refusing.paths == ONCE * 2


@pytest.mark.parametrize(("base_url", "sent"), [("https://api.test", "secret"), ("http://api.test", None)])
def test_api_key_is_sent_over_tls_only(base_url: str, sent: str | None) -> None:
    api = Api()
    with client(api, base_url) as challenge_api:
        challenge_api.send_batch(BATCH)
    assert {request.headers.get("x-api-key") for request in api.requests} == {sent}


def test_what_nobody_foresaw_is_retried() -> None:
    delivery = deliver(Api(public_key=LookupError("a surprise")))
    assert (delivery.status, delivery.detail) == (DeliveryStatus.RETRY, "LookupError: a surprise")


@pytest.fixture(params=[b"HTTP/1.1 200 X\r\nx: ", b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n"])
def dripping_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server that starts an answer and then sends a byte every 50 ms, in its headers or in its body."""
    stopped = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(request.param)
            while not stopped.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        stopped.set()
        thread.join(5)


def test_dripping_api_cannot_outlast_the_deadline(dripping_port: int) -> None:
    started_s = time.perf_counter()
    with HttpChallengeApi(f"http://127.0.0.1:{dripping_port}", VALIDATOR, timeout_s=0.5) as challenge_api:
        delivery = challenge_api.send_batch(BATCH)
    assert time.perf_counter() - started_s < 2
    assert (delivery.status, delivery.detail) == (DeliveryStatus.RETRY, "not delivered within 0.5 s")


def test_deadline_covers_all_requests_together() -> None:
    class Slow(httpx.MockTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.3)
            return await super().handle_async_request(request)

    api = Api(httpx.Response(401))
    with HttpChallengeApi("http://api.test", VALIDATOR, timeout_s=0.8, transport=Slow(api)) as challenge_api:
        api.handshakes = HandshakeServer(private_key=rsa_key())
        assert challenge_api.send_batch(BATCH).status is DeliveryStatus.RETRY
    assert api.paths == HANDSHAKE


def test_batch_that_is_no_json_is_the_callers_fault() -> None:
    with client(Api()) as challenge_api, pytest.raises(WireError, match="JSON"):
        challenge_api.send_batch({"score": float("nan")})


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999", 3600.0),
        ("Fri, 02 Jan 2026 12:00:30 GMT", 30.0),
        ("Fri, 02 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_header(value: str, wait_s: float | None) -> None:
    now_s = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()
    assert retry_after_s(httpx.Headers({"retry-after": value}), now_s=now_s) == wait_s


def test_fake_follows_its_script_and_then_the_protocol() -> None:
    fake = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "later")])
    statuses = [fake.send_batch(payload).status for payload in (BATCH, b'{"challenge_id": "c-1"}', BATCH)]
    assert statuses == [DeliveryStatus.RETRY, DeliveryStatus.DELIVERED, DeliveryStatus.ALREADY]
    assert [call["challenge_id"] for call in fake.calls] == ["c-1"] * 3

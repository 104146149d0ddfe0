"""Telling and asking the Challenge API: every status it may answer with, and never a word in clear by default."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.redaction import GONE
from loosh_pipeline.wire.bodies import retry_after_s
from loosh_pipeline.wire.challenge_api_client import PAUSE_AFTER_SILENCE_S, Delivery, DeliveryStatus, HttpChallengeApi
from loosh_pipeline.wire.client_sessions import MemorySessions, Session
from loosh_pipeline.wire.crypto import new_symmetric_key
from loosh_pipeline.wire.fakes import FakeChallengeApi
from loosh_pipeline.wire.sessions import HandshakeServer
from tests.wire.api import BATCH, HANDSHAKE, KIND, LATER, NOW_S, ONCE, Api, client, deliver
from tests.wire.peers import VALIDATOR, rsa_key


def test_an_api_that_says_the_key_back_puts_it_nowhere() -> None:
    for length in range(0, 170, 7):
        answer = httpx.Response(422, content=b"x" * length + b" not with:secret")
        said = deliver(Api(answer)).detail.replace(GONE, "")
        assert "secr" not in said


def test_batch_arrives_encrypted() -> None:
    api = Api()
    assert deliver(api).status is DeliveryStatus.DELIVERED
    assert api.paths == ONCE
    assert api.decrypted(api.requests[-1]) == BATCH
    # A quoted id: a bare one may stand in a ciphertext's base64 by chance, a quotation mark never does.
    assert all(b'"c-1"' not in request.content for request in api.requests)
    assert b'"c-1"' in BATCH


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (httpx.Response(200), DeliveryStatus.DELIVERED),
        (httpx.Response(201), DeliveryStatus.DELIVERED),
        (httpx.Response(409), DeliveryStatus.ALREADY),
        (httpx.Response(413), DeliveryStatus.REFUSED),
        (httpx.Response(422), DeliveryStatus.REFUSED),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), DeliveryStatus.RETRY),
        (httpx.Response(403), DeliveryStatus.REFUSED),
        (httpx.Response(418), DeliveryStatus.REFUSED),
        (httpx.Response(408), DeliveryStatus.RETRY),
        (httpx.Response(204), DeliveryStatus.RETRY),
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


@pytest.mark.parametrize(
    ("answer", "wait_s", "turned_away"),
    [
        (httpx.ConnectError("refused"), PAUSE_AFTER_SILENCE_S, False),
        (httpx.ConnectTimeout("nobody"), PAUSE_AFTER_SILENCE_S, False),
        (httpx.ReadTimeout("slow"), None, False),
        (httpx.WriteTimeout("slow"), None, False),
        (TimeoutError(), None, False),
        (httpx.Response(503), None, False),
        (httpx.Response(401), None, False),
        (httpx.Response(429, headers={"retry-after": "7"}), 7.0, False),
        (httpx.Response(404), None, True),
        (httpx.Response(408), None, True),
        (httpx.Response(425, headers={"retry-after": "7"}), 7.0, True),
    ],
)
def test_w_13_only_who_cannot_be_reached_or_asks_to_wait_is_left_alone_with_everything(
    answer: httpx.Response | Exception, wait_s: float | None, turned_away: bool
) -> None:
    delivery = deliver(Api(answer))
    assert (delivery.status, delivery.retry_after_s) == (DeliveryStatus.RETRY, wait_s)
    assert delivery.turned_away is turned_away


def test_w_35_400_under_a_fresh_key_concerns_the_payload_and_costs_no_handshake() -> None:
    api = Api(httpx.Response(400, json={"detail": "schema"}))
    assert deliver(api).status is DeliveryStatus.REFUSED
    assert api.paths == ONCE


def test_400_under_an_older_key_is_tried_once_more_with_a_fresh_one() -> None:
    sessions = MemorySessions()
    assert deliver(Api(), sessions=sessions).status is DeliveryStatus.DELIVERED
    forgetful = Api(httpx.Response(400), httpx.Response(201))
    assert deliver(forgetful, sessions=sessions).status is DeliveryStatus.DELIVERED
    assert forgetful.paths == ["response/batch", *ONCE]

    assert deliver(Api(), sessions=sessions).status is DeliveryStatus.DELIVERED
    refusing = Api(httpx.Response(400))
    assert deliver(refusing, sessions=sessions).status is DeliveryStatus.REFUSED
    assert refusing.paths == ["response/batch", *ONCE]


def test_refusal_says_what_the_api_said() -> None:
    assert "schema" in deliver(Api(httpx.Response(400, json={"detail": "schema"}))).detail


def test_a_web_page_and_lines_are_not_quoted_as_they_are() -> None:
    page = httpx.Response(404, text="\n<!DOCTYPE HTML>\n<html lang='en'>")
    assert deliver(Api(page)).detail == "a web page (HTTP 404)"
    assert deliver(Api(httpx.Response(400, text="one\n  two"))).detail == "HTTP 400: one two"


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


def test_session_is_kept_between_batches_and_between_clients_that_share_a_store() -> None:
    api, sessions = Api(), MemorySessions()
    for _ in range(2):
        challenge_api = client(api, sessions=sessions)
        challenge_api.tell(KIND, BATCH)
        challenge_api.tell(KIND, BATCH)
    assert api.paths == [*ONCE, *["response/batch"] * 3]


def test_sessions_are_kept_apart_by_base_url_and_their_keys_are_in_no_text() -> None:
    sessions = MemorySessions()
    for base_url in ("https://api.test/", "https://other.test"):
        client(Api(), base_url, sessions=sessions).tell(KIND, BATCH)
    held = [sessions.get(peer) for peer in ("https://api.test", "https://other.test")]
    assert held[0] is not None
    assert held[1] is not None
    assert held[0].uuid != held[1].uuid
    assert held[0].key.decode() not in repr(held[0])


def test_session_is_renewed_a_minute_before_it_expires() -> None:
    api = Api()
    now_s = [NOW_S]
    api.handshakes = HandshakeServer(private_key=rsa_key(), clock=lambda: now_s[0])
    challenge_api = client(api, clock=lambda: now_s[0])
    for age_s in (0.0, 3539.0, 3540.0):
        now_s[0] = NOW_S + age_s
        challenge_api.tell(KIND, BATCH)
    assert api.paths == [*ONCE, "response/batch", *ONCE]


def test_unknown_session_is_renewed_and_the_batch_sent_again_once() -> None:
    api = Api(httpx.Response(401), httpx.Response(201))
    assert deliver(api).status is DeliveryStatus.DELIVERED
    assert api.paths == ONCE * 2


def test_a_newer_session_of_another_process_is_used_instead_of_a_handshake() -> None:
    api, sessions = Api(httpx.Response(401), httpx.Response(201)), MemorySessions()
    challenge_api = client(api, sessions=sessions)
    answer = api.response

    def renewed_meanwhile(request: httpx.Request) -> httpx.Response | Exception:
        if not sessions_seen:
            sessions_seen.append(request.headers["symmetric-key-uuid"])
            sessions.put("https://api.test", Session(new_symmetric_key(), "theirs", LATER))
        return answer(request)

    sessions_seen: list[str] = []
    api.response = renewed_meanwhile  # type: ignore[method-assign]
    assert challenge_api.tell(KIND, BATCH).status is DeliveryStatus.DELIVERED
    assert api.paths == [*ONCE, "response/batch"]
    assert api.requests[-1].headers["symmetric-key-uuid"] == "theirs"


def test_session_that_is_refused_again_is_tried_later() -> None:
    refusing = Api(httpx.Response(401))
    assert deliver(refusing).status is DeliveryStatus.RETRY
    assert refusing.paths == ONCE * 2


@pytest.mark.parametrize(
    ("base_url", "sent"),
    [
        ("https://api.test", "secret"),
        ("http://api.test", None),
        ("http://10.0.0.7:8080", None),
        ("http://127.0.0.1:8080", "secret"),
        ("http://localhost:8080", "secret"),
        ("http://[::1]:8080", "secret"),
        ("http://localhost.test", None),
    ],
)
def test_w_29_the_api_key_is_sent_where_nobody_can_read_it_only(base_url: str, sent: str | None) -> None:
    api = Api()
    client(api, base_url).tell(DeliveryKind.NETWORK_REPORT, b"{}")
    assert [request.headers.get("x-api-key") for request in api.requests] == [sent]


def test_w_29_what_the_api_says_reaches_no_log_unbounded_or_unprintable() -> None:
    said = deliver(Api(httpx.Response(422, content=b"\x1b[2J\r\n\xff" + b"x" * 5000))).detail
    assert said.isprintable()
    assert len(said) < 200


ANSWERS = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.dictionaries(st.sampled_from(["public_key", "success"]) | st.text(), inner) | st.lists(inner),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())


@settings(deadline=None, max_examples=60)
@given(body=ANSWERS, route=st.sampled_from(["public_key", "key_exchange"]))
def test_whatever_a_handshake_is_answered_with_is_a_delivery(body: bytes, route: str) -> None:
    answer = httpx.Response(200, content=body)
    assert deliver(Api(**{route: answer})).status in (DeliveryStatus.RETRY, DeliveryStatus.DELIVERED)


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
    delivery = HttpChallengeApi(f"http://127.0.0.1:{dripping_port}", VALIDATOR, timeout_s=0.5).tell(KIND, BATCH)
    assert time.perf_counter() - started_s < 10
    assert (delivery.status, delivery.detail) == (DeliveryStatus.RETRY, "not delivered within 0.5 s")


def test_deadline_covers_all_requests_together() -> None:
    class Slow(httpx.MockTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.3)
            return await super().handle_async_request(request)

    api = Api(httpx.Response(401))
    api.handshakes = HandshakeServer(private_key=rsa_key())
    challenge_api = HttpChallengeApi("http://api.test", VALIDATOR, timeout_s=0.8, transport=Slow(api))
    assert challenge_api.tell(KIND, BATCH).status is DeliveryStatus.RETRY
    assert api.paths == HANDSHAKE


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
    statuses = [fake.tell(KIND, payload).status for payload in (BATCH, BATCH, BATCH)]
    assert statuses == [DeliveryStatus.RETRY, DeliveryStatus.DELIVERED, DeliveryStatus.ALREADY]
    assert [call["challenge_id"] for call in fake.calls] == ["c-1"] * 3
    reports = [fake.tell(DeliveryKind.SYBIL_REPORT, b"{}").status for _ in range(2)]
    assert reports == [DeliveryStatus.DELIVERED] * 2

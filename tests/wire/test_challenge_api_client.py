"""Telling and asking the Challenge API: every status it may answer with, and never a word in clear by default."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.api_calls import CALLS
from loosh_pipeline.wire.api_session import ApiSession, MemorySessions
from loosh_pipeline.wire.bodies import retry_after_s
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus, HttpChallengeApi
from loosh_pipeline.wire.crypto import new_symmetric_key, unseal
from loosh_pipeline.wire.fakes import FakeChallengeApi
from loosh_pipeline.wire.headers import verify_signature_headers
from loosh_pipeline.wire.messages import parse_api_key_exchange
from loosh_pipeline.wire.network_view import ValidatorsSaid
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


def test_batch_arrives_encrypted() -> None:
    api = Api()
    assert deliver(api).status is DeliveryStatus.DELIVERED
    assert api.paths == ONCE
    assert api.decrypted(api.requests[-1]) == BATCH
    assert all(b"c-1" not in request.content for request in api.requests)


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
            sessions.put("https://api.test", ApiSession(new_symmetric_key(), "theirs", LATER))
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
    assert len(said) < 160


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
    assert time.perf_counter() - started_s < 2
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


def clear_text(api: Api) -> list[httpx.Request]:
    return [request for request in api.requests if request.url.path == "/response/batch"]


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(401), httpx.Response(404), httpx.Response(302)])
def test_w_14_a_failed_route_is_not_replaced_by_clear_text_unless_that_is_allowed(answer: httpx.Response) -> None:
    api = Api(answer)
    assert deliver(api).status is DeliveryStatus.RETRY
    assert clear_text(api) == []

    allowing = Api(answer)
    allowing.clear = httpx.Response(201)
    delivery = deliver(allowing, allow_clear_text=True)
    assert (delivery.status, delivery.detail) == (DeliveryStatus.DELIVERED, "in clear text: HTTP 201")
    (request,) = clear_text(allowing)
    assert request.content == BATCH
    assert request.headers["x-validator-hotkey"] == VALIDATOR.ss58_address
    call = verify_signature_headers(request.headers, request.content, now_s=NOW_S, window_s=1)
    assert call.hotkey == VALIDATOR.ss58_address


@pytest.mark.parametrize("status", [400, 403, 409, 413, 422, 429])
def test_w_14_a_refusal_is_never_told_again_in_clear_text(status: int) -> None:
    api = Api(httpx.Response(status))
    delivery = deliver(api, allow_clear_text=True)
    assert delivery.status is not DeliveryStatus.DELIVERED
    assert clear_text(api) == []


@pytest.mark.parametrize(
    ("override", "clear"),
    [
        ({"key_exchange": httpx.Response(503)}, True),
        ({"public_key": httpx.Response(404)}, True),
        ({"public_key": httpx.Response(200, json={"public_key": "no"})}, True),
        ({"public_key": httpx.Response(429)}, False),
        ({"public_key": httpx.ConnectError("refused")}, False),
    ],
)
def test_w_14_clear_text_is_for_an_api_that_answers_but_cannot_agree_on_a_key(
    override: dict[str, Any], clear: bool
) -> None:
    api = Api(**override)
    api.clear = httpx.Response(201)
    delivered = deliver(api, allow_clear_text=True).status is DeliveryStatus.DELIVERED
    assert (delivered, len(clear_text(api))) == (clear, clear)


@pytest.mark.parametrize("kind", [DeliveryKind.CALLBACK, DeliveryKind.HEATMAP])
def test_w_14_nothing_but_a_batch_has_a_clear_text_form(kind: DeliveryKind) -> None:
    api = Api(httpx.Response(500))
    assert client(api, allow_clear_text=True).tell(kind, b"{}").status is DeliveryStatus.RETRY
    assert {request.url.path.split("/")[1] for request in api.requests} == {"fiber"}


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (httpx.Response(409), DeliveryStatus.ALREADY, "in clear text: HTTP 409"),
        (httpx.Response(200), DeliveryStatus.RETRY, "HTTP 500; in clear text: HTTP 200"),
        (httpx.Response(400), DeliveryStatus.RETRY, "HTTP 500; in clear text: HTTP 400"),
        (httpx.ConnectError("no"), DeliveryStatus.RETRY, "HTTP 500; in clear text: ConnectError: no"),
    ],
)
def test_what_clear_text_does_not_settle_stays_as_it_was(
    answer: httpx.Response | Exception, status: DeliveryStatus, detail: str
) -> None:
    api = Api(httpx.Response(500))
    api.clear = answer
    delivery = deliver(api, allow_clear_text=True)
    assert (delivery.status, delivery.detail) == (status, detail)


HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@settings(deadline=None, max_examples=60)
@given(
    status=st.integers(200, 599),
    body=st.binary(max_size=300),
    retry_after=HEADER_VALUES
    | st.sampled_from(["Fri, 99 Jan 2026 12:00:30 GMT", "1 Jan 0001 00:00:00 +9999", "9" * 30]),
    encoding=st.sampled_from(["identity", "gzip", "br"]),
    kind=st.sampled_from(list(DeliveryKind)),
)
def test_whatever_the_api_answers_is_a_delivery(
    status: int, body: bytes, retry_after: str, encoding: str, kind: DeliveryKind
) -> None:
    headers = {"retry-after": retry_after, "content-encoding": encoding}
    answer = httpx.Response(status, headers=headers, stream=Body(body))
    answer._content = body
    delivery = client(Api(answer)).tell(kind, BATCH)
    assert (delivery.status is DeliveryStatus.DELIVERED) == (status in CALLS[kind].taken)
    assert delivery.detail.isprintable()
    assert delivery.retry_after_s is None or 0 <= delivery.retry_after_s <= 3600


SEALED = {
    DeliveryKind.RESPONSE_BATCH: "/fiber/response/batch",
    DeliveryKind.CALLBACK: "/fiber/callback",
    DeliveryKind.HEATMAP: "/fiber/heatmap/upload",
}
SIGNED = {
    DeliveryKind.SYBIL_REPORT: "/analytics/sybil-detection/bulk",
    DeliveryKind.NETWORK_REPORT: "/analytics/miner-network/bulk",
    DeliveryKind.PENALTY_REPORT: "/analytics/penalty-report",
}


def test_every_kind_has_its_route() -> None:
    assert SEALED.keys() | SIGNED.keys() == set(DeliveryKind)


@pytest.mark.parametrize("kind", SEALED)
@pytest.mark.parametrize("status", [200, 201])
def test_sealed_kinds_go_encrypted_to_their_route_byte_for_byte(kind: DeliveryKind, status: int) -> None:
    api = Api(httpx.Response(status))
    assert client(api).tell(kind, b'{"text":   "as it is"}').status is DeliveryStatus.DELIVERED
    assert [request.url.path for request in api.requests][2:] == [SEALED[kind]]
    assert api.decrypted(api.requests[-1]) == b'{"text":   "as it is"}'
    assert api.requests[-1].headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("kind", SIGNED)
def test_signed_kinds_go_signed_over_the_bytes_that_are_sent_and_need_201(kind: DeliveryKind) -> None:
    api = Api(httpx.Response(201), httpx.Response(200))
    assert client(api).tell(kind, b'{"penalties":   []}').status is DeliveryStatus.DELIVERED
    (request,) = api.requests
    assert (request.method, request.url.path, request.content) == ("POST", SIGNED[kind], b'{"penalties":   []}')
    assert request.headers["x-nonce"] == "1000000.5"
    call = verify_signature_headers(request.headers, request.content, now_s=NOW_S, window_s=1)
    assert call.hotkey == VALIDATOR.ss58_address
    unexpected = client(api).tell(kind, b"{}")
    assert (unexpected.status, unexpected.detail) == (DeliveryStatus.RETRY, "HTTP 200; 201 was expected")


def test_w_17_no_two_calls_carry_the_same_signature() -> None:
    api, now_s = Api(), iter([NOW_S, NOW_S + 1e-6, NOW_S + 2e-6, NOW_S + 3e-6])
    challenge_api = client(api, clock=lambda: next(now_s))
    for _ in range(2):
        challenge_api.tell(DeliveryKind.NETWORK_REPORT, b"{}")
    assert len({request.headers["x-nonce"] for request in api.requests}) == 2
    assert len({request.headers["x-signature"] for request in api.requests}) == 2


def test_who_validates_is_asked_signed_and_without_a_body() -> None:
    entry = {"hotkey_ss58": VALIDATOR.ss58_address, "validator_permit": True}
    api = Api(validators=httpx.Response(200, json=[entry]))
    assert client(api).validators() == ValidatorsSaid(frozenset({Hotkey(VALIDATOR.ss58_address)}))
    (request,) = api.requests
    assert (request.method, request.url.path, request.content) == ("GET", "/validators", b"")
    assert verify_signature_headers(request.headers, None, now_s=NOW_S, window_s=1).hotkey == VALIDATOR.ss58_address


def test_sybil_scores_are_asked_for_with_the_vector_of_the_network() -> None:
    api = Api(analytics_sybil_scores_batch=httpx.Response(200, json={"scores": {"a": 0.5}}))
    said = client(api, clock=lambda: 1733011200.5).sybil_scores([Hotkey("a")])
    assert (said.sybil_scores, said.priority_weights) == ({"a": 0.5}, {"a": 1.0})
    (request,) = api.requests
    assert request.content == b'{"miner_hotkeys": ["a"]}'
    assert request.headers["x-nonce"] == "1733011200.5"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(503, text="down"), "GET /validators was answered with HTTP 503: down"),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), "HTTP 302"),
        (httpx.Response(200, text="<html>"), "not valid JSON"),
        (httpx.ConnectError("refused"), "GET /validators failed: ConnectError: refused"),
        (httpx.Response(200, content=b"[" * 9_000_000), "not valid JSON"),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_says_why(answer: httpx.Response | Exception, message: str) -> None:
    with pytest.raises(WireError, match=message):
        client(Api(validators=answer)).validators()


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

"""Each route of the Challenge API, what goes there and how protected, and clear text only where it is allowed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import DeliveryKind, Hotkey
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.api_calls import CALLS
from loosh_pipeline.wire.challenge_api_client import DeliveryStatus
from loosh_pipeline.wire.headers import verify_signature_headers
from loosh_pipeline.wire.network_view import ValidatorsSaid
from tests.wire.api import BATCH, NOW_S, Api, Body, client, deliver
from tests.wire.peers import VALIDATOR

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
    """Not even where the clock stands still."""
    api = Api()
    challenge_api = client(api)
    for _ in range(3):
        challenge_api.tell(DeliveryKind.NETWORK_REPORT, b"{}")
    assert len({request.headers["x-nonce"] for request in api.requests}) == 3
    for request in api.requests:
        verify_signature_headers(request.headers, request.content, now_s=NOW_S, window_s=0.001)


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
        (httpx.Response(200, content=b"[" * 9_000_000), "body is longer than 8388608 bytes"),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_says_why(answer: httpx.Response | Exception, message: str) -> None:
    with pytest.raises(WireError, match=message):
        client(Api(validators=answer)).validators()


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

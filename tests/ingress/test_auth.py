"""Who may push: by signature, by key, or by being here; and what cannot pretend to be any of them."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import Keypair
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ingress import auth
from ingress.callers import caller_of
from ingress.main import create_app
from loosh_pipeline.settings import Settings
from tests.ingress.conftest import AWAY, HERE, Serve, body_of, exchange_body, keep_wallet, post, signed
from tests.wire.peers import STRANGER, VALIDATOR

KNOWN = (VALIDATOR.ss58_address,)
OWN = Keypair.from_seed(b"\x09" * 32)
JSON = {"content-type": "application/json"}
BODY = body_of()


def test_w_4_a_stranger_without_a_signature_is_401(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN)
    answer = post(client, BODY, JSON)
    assert answer.status_code == 401
    assert "X-Hotkey, X-Nonce, X-Signature" in answer.json()["detail"]
    assert client.get("/challenges/stats").json()["total_received"] == 0


def test_a_known_hotkey_pushes_from_anywhere(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN)
    answer = post(client, BODY, signed(BODY))
    assert (answer.status_code, answer.json()["challenge_id"]) == (201, "c-1")


def test_w_4_an_unknown_hotkey_is_403_and_named_to_the_operator(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = serve(intake_hotkeys=KNOWN)
    with caplog.at_level(logging.WARNING):
        answers = [post(client, BODY, signed(BODY, STRANGER)) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {403}
    assert STRANGER.ss58_address in answers[0].json()["detail"]
    told = [record.getMessage() for record in caplog.records if STRANGER.ss58_address in record.getMessage()]
    assert len(told) == 1, "each unknown hotkey is logged once"


def test_w_18_strangers_do_not_fill_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(intake_hotkeys=KNOWN)
    others = [Keypair.from_seed(bytes([number]) * 32) for number in range(3, 8)]
    for other in others:
        assert post(client, BODY, signed(BODY, other)).status_code == 403
    assert sum("tried to push" in record.getMessage() for record in caplog.records) == 1
    monkeypatch.setattr(auth, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(auth, "MAX_TOLD", 2)
    for other in others:
        post(client, BODY, signed(BODY, other))
    assert sum("tried to push" in record.getMessage() for record in caplog.records) == 5
    assert len(client.app.state.parts.door._told) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("client_address", [AWAY, HERE])
@pytest.mark.parametrize("mode", ["required", "signature-optional"])
@pytest.mark.parametrize(
    "changes",
    [
        {"X_Signature": "0x" + "00" * 64},
        {"X_Signature": "nope"},
        {"X_Signature": ""},
        {"X_Hotkey": STRANGER.ss58_address},
        {"X_Hotkey": "attacker"},
        {"X_Nonce": "1733011200.5"},
        {"X_Nonce": "nan"},
        {"X_Nonce": "9" * 400},
    ],
)
def test_a_signature_that_is_there_must_be_right(
    serve: Serve, mode: str, client_address: tuple[str, int], changes: dict[str, str]
) -> None:
    client = serve(client_address, intake_hotkeys=KNOWN, intake_auth=mode)
    assert post(client, BODY, signed(BODY, **changes)).status_code == 401


def test_a_signature_is_of_this_body(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN)
    assert post(client, body_of("c-2"), signed(BODY)).status_code == 401


@pytest.mark.parametrize("skew_s", [-61, 61, 1e9])
def test_w_17_times_are_compared_with_the_servers_clock(serve: Serve, skew_s: float) -> None:
    client = serve(intake_hotkeys=KNOWN)
    assert post(client, BODY, signed(BODY, now_s=time.time() + skew_s)).status_code == 401


def test_w_17_a_nonce_is_used_once_also_across_a_restart(serve: Serve) -> None:
    now_s = time.time()
    headers, other = signed(BODY, now_s=now_s), body_of("c-2")
    client = serve(intake_hotkeys=KNOWN)
    assert post(client, BODY, headers).status_code == 201
    for each in (client, serve(intake_hotkeys=KNOWN)):
        replayed = post(each, other, signed(other, now_s=now_s))
        assert (replayed.status_code, "used before" in replayed.json()["detail"]) == (401, True)
        again = post(each, BODY, headers)
        assert (again.status_code, "already exists" in again.json()["detail"]) == (409, True), (
            "a retry hears it is there"
        )
    assert client.get("/challenges/stats").json()["total_received"] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer hunter2"}, 201),
        ({"authorization": "bearer  hunter2 "}, 201),
        ({"x-api-key": "hunter2"}, 201),
        ({"x-api-key": "hunter3"}, 401),
        ({"authorization": "Basic hunter2"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"x-api-key": "h\u00fcnter2"}, 401),
    ],
)
def test_the_api_key_opens_as_a_signature_does(serve: Serve, headers: dict[str, str], status: int) -> None:
    client = serve(challenge_push_api_key="hunter2")
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = client.post("/challenges", content=BODY, headers=encoded)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert "hunter2" not in answer.text


def test_a_key_is_compared_as_the_bytes_that_are_sent(serve: Serve) -> None:
    client = serve(challenge_push_api_key="hünter")
    headers = {"x-api-key": "hünter".encode()}
    assert client.post("/challenges", content=BODY, headers=headers).status_code == 201  # type: ignore[arg-type]


def test_no_key_opens_when_none_is_set(serve: Serve) -> None:
    for headers in ({"x-api-key": ""}, {"x-api-key": "None"}, {"authorization": "Bearer "}):
        assert post(serve(), BODY, JSON | headers).status_code == 401


def test_a_signature_may_stand_beside_a_key_of_another_receiver(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN, challenge_push_api_key="hunter2")
    assert post(client, BODY, signed(BODY, x_api_key="api-key-0")).status_code == 201


def test_todays_network_pushes_unsigned_where_that_is_allowed(serve: Serve) -> None:
    client = serve(intake_auth="signature-optional", intake_hotkeys=KNOWN)
    assert post(client, BODY, JSON).status_code == 201
    assert post(client, body_of("c-2"), signed(body_of("c-2"), STRANGER)).status_code == 201


def test_an_open_intake_checks_nothing(serve: Serve) -> None:
    client = serve(HERE, intake_auth="open", api_host="127.0.0.1", intake_local_auth=True)
    assert post(client, BODY, signed(BODY, X_Signature="nope")).status_code == 201


@pytest.mark.parametrize(
    "foreign",
    [{"host": "evil.example:8000"}, {"origin": "http://evil.example:8000"}, {"x-forwarded-for": "203.0.113.9"}],
)
@pytest.mark.parametrize("signature", [{}, {"x-hotkey": "a", "x-nonce": "1", "x-signature": "0x"}])
def test_an_open_intake_is_for_no_page_in_a_browser(
    serve: Serve, foreign: dict[str, str], signature: dict[str, str]
) -> None:
    client = serve(HERE, intake_auth="open", api_host="127.0.0.1")
    assert post(client, BODY, JSON | foreign | signature).status_code == 403
    exchange = exchange_body(client, signature="nope")
    assert client.post("/fiber/key-exchange", json=exchange, headers=foreign).status_code == 403


def test_this_machine_needs_no_signature_unless_it_is_told_to(serve: Serve) -> None:
    assert post(serve(HERE), BODY, JSON).status_code == 201
    strict = serve(HERE, intake_local_auth=True, intake_hotkeys=KNOWN)
    other = body_of("c-2")
    assert post(strict, other, JSON).status_code == 401
    assert post(strict, other, signed(other, STRANGER)).status_code == 403
    assert post(strict, other, signed(other)).status_code == 201


@pytest.mark.parametrize("address", ["::1", "127.8.8.8", "::ffff:127.0.0.1"])
def test_every_loopback_address_is_this_machine(serve: Serve, address: str) -> None:
    assert post(serve((address, 1)), BODY, JSON).status_code == 201


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"])
def test_what_a_proxy_here_forwards_is_not_from_here(serve: Serve, name: str) -> None:
    assert post(serve(HERE), BODY, JSON | {name: "127.0.0.1"}).status_code == 401


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-real-ip", "forwarded", "host", "origin"])
def test_no_header_makes_a_stranger_local(serve: Serve, name: str) -> None:
    assert post(serve(AWAY), BODY, JSON | {name: "127.0.0.1"}).status_code == 401


@pytest.mark.parametrize("claimed", ["127.0.0.1", "::1", "127.0.0.1, 203.0.113.9", "203.0.113.9, 127.0.0.1", ""])
def test_a_server_that_believes_a_forwarding_header_grants_nothing(settings: Settings, claimed: str) -> None:
    """As `uvicorn ingress.main:app` does by default for what comes from loopback."""
    believing = ProxyHeadersMiddleware(create_app(settings))  # type: ignore[arg-type]
    with TestClient(believing, client=HERE) as client:  # type: ignore[arg-type]
        assert post(client, BODY, JSON | {"x-forwarded-for": claimed}).status_code == 401
        assert post(client, BODY, JSON).status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 401),
        ({"origin": "null"}, 401),
        ({"origin": "http://[::1"}, 401),
        ({"origin": "http://localhost.evil.example"}, 401),
        ({"host": "evil.example:8000"}, 401),
        ({"host": "evil.example."}, 401),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "Application/JSON; charset=utf-8"}, 201),
        ({"content-type": "application/x+json"}, 201),
        ({"origin": "http://localhost:3000"}, 201),
        ({"origin": "http://127.0.0.1:3000", "host": "127.0.0.1:8000"}, 201),
        ({"host": "[::1]:8000"}, 201),
        ({"host": "localhost"}, 201),
        ({"host": "localhost:9000"}, 401),
        ({"host": "localhost:99999999"}, 401),
        ({"host": "203.0.113.5:8000"}, 401),
        ({"host": ""}, 401),
    ],
)
def test_a_page_in_a_browser_here_is_not_this_machine(serve: Serve, headers: dict[str, str], status: int) -> None:
    assert post(serve(HERE), BODY, JSON | headers).status_code == status


@pytest.mark.parametrize(
    ("version", "hosts", "local"),
    [
        ("1.1", [b"127.0.0.1:8000"], True),
        ("1.1", [b"localhost:9999"], True),
        ("1.0", [b"127.0.0.1:8000"], False),
        ("1.1", [b"validator.example"], False),
        ("1.1", [b"127.0.0.1:7000"], False),
        ("1.1", [], False),
        ("1.1", [b"127.0.0.1:8000", b"127.0.0.1:8000"], False),
    ],
)
def test_a_proxy_that_adds_no_header_is_known_by_what_it_speaks(version: str, hosts: list[bytes], local: bool) -> None:
    """HTTP/1.0 is what nginx speaks by default; another name or port is what socat and ssh -R leave as they got it."""
    headers = [(b"host", host) for host in hosts]
    scope = {"type": "http", "client": HERE, "server": ("127.0.0.1", 9999), "http_version": version, "headers": headers}
    assert caller_of(scope, 8000).local is local


def test_who_signs_here_too_signs_to_stop_the_validator(serve: Serve, own_home: Path) -> None:
    keep_wallet(own_home, OWN)
    changes = {"intake_local_auth": True, "intake_hotkeys": KNOWN, "challenge_push_api_key": "k"}
    client = serve(HERE, wallet_path=own_home / "wallets", **changes)
    body = b'{"running": true}'

    def status(headers: dict[str, str], **more: str) -> int:
        given = JSON | {"master-hotkey": "5Abc"} | headers | more
        return int(client.post("/set_running", content=body, headers=given).status_code)

    assert status({}) == 401
    assert status({"x-api-key": "wrong"}) == 401
    assert status(signed(body, STRANGER)) == 403
    assert status(signed(b'{"running": false}')) == 401
    assert status({"authorization": "Bearer k"}) == 200
    assert status(signed(body, OWN)) == 200
    own = signed(body)
    assert (status(own), status(own)) == (200, 401)
    assert status(signed(body), host="v.example") == 403


def test_set_running_is_not_for_a_page_either(serve: Serve) -> None:
    headers = {"master-hotkey": "5Abc", "origin": "http://evil.example"}
    assert serve(HERE).post("/set_running", json={"running": False}, headers=headers).status_code == 403


def test_who_may_push_is_said_at_start(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        serve()
        serve(intake_hotkeys=KNOWN, challenge_push_api_key="k", intake_local_auth=True)
    said = [record.getMessage() for record in caplog.records if "challenges are taken" in record.getMessage()]
    assert said[0].endswith("programs on this machine; name the Challenge API's hotkey in INTAKE_HOTKEYS")
    assert said[1] == "challenges are taken from hotkeys (1), holders of the API key"


def test_nobody_configured_is_not_unhealthy(serve: Serve) -> None:
    health: Any = serve().get("/availability/health").json()
    assert (health["status"], health["reasons"]) == ("healthy", [])

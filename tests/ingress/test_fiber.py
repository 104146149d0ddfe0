"""Dialect B: sessions for those who push encrypted challenges, with the network's codes."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import Keypair
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from ingress import handshakes
from ingress.main import create_app
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.nonces import Nonces
from loosh_pipeline.store.users import Users
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, new_symmetric_key, seal
from loosh_pipeline.wire.headers import LINK_HEADER
from loosh_pipeline.wire.push import parse_push_key_exchange
from tests.ingress.conftest import AWAY, HERE, KEY, Serve, body_of, exchange_body, keep_wallet
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key

KNOWN = (VALIDATOR.ss58_address,)
OWN = Keypair.from_seed(b"\x09" * 32)
HEADERS = {"symmetric-key-uuid": "u-1", "hotkey-ss58-address": VALIDATOR.ss58_address}
UNDECRYPTABLE = {"detail": "Failed to decrypt payload. Key may be expired or invalid."}


def challenge(client: TestClient, plaintext: bytes, key: bytes = KEY, **headers: str) -> Any:
    return client.post("/fiber/challenge", content=seal(key, plaintext), headers=HEADERS | headers)


def opened(client: TestClient, **changes: Any) -> TestClient:
    answer = client.post("/fiber/key-exchange", json=exchange_body(client, **changes))
    assert (answer.status_code, answer.json()) == (
        200,
        {"success": True, "message": "Symmetric key exchanged successfully"},
    )
    return client


def test_w_37_a_challenge_comes_encrypted_and_its_time_is_filled_in_aware(serve: Serve, settings: Settings) -> None:
    client = opened(serve(intake_hotkeys=KNOWN))
    answer = challenge(client, body_of("c-1", created_at=None, max_tokens=9))
    assert answer.status_code == 201
    assert answer.json() == {
        "success": True,
        "message": "Challenge received successfully",
        "challenge_id": "c-1",
    }
    row = Inbox.open(settings.inbox_url).get("c-1")
    assert answer.headers[LINK_HEADER] == str(row.link)
    assert row.challenge().max_tokens == 9
    assert row.request["created_at"] == row.received_at.isoformat(), "with its offset"
    assert challenge(client, body_of("c-1")).status_code == 409


@pytest.mark.parametrize("prefix", ["", "0x"])
def test_a_signature_counts_with_and_without_its_prefix(serve: Serve, prefix: str) -> None:
    client = serve(intake_hotkeys=KNOWN)
    body = exchange_body(client)
    body["signature"] = prefix + body["signature"]
    assert client.post("/fiber/key-exchange", json=body).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"signer": STRANGER}, 403),
        ({"signer": None}, 401),
        ({"signature": "nope"}, 401),
        ({"signature": "00" * 64}, 401),
        ({"key_uuid": "u-2", "signature": "00" * 64}, 401),
        ({"hotkey_ss58": STRANGER.ss58_address}, 401),
        ({"hotkey_ss58": "attacker", "signature": "nope"}, 401),
        ({"timestamp": 1733011200.5}, 401),
        ({"made_s": 1e12}, 401),
        ({"timestamp": "now"}, 422),
        ({"timestamp": True}, 422),
        ({"key_uuid": None}, 422),
        ({"key_uuid": "a b"}, 422),
        ({"encrypted_symmetric_key": "!"}, 422),
        ({"encrypted_symmetric_key": "AAAA"}, 422),
        ({"signature": 7}, 422),
    ],
)
def test_w_4_a_key_exchange_is_verified(serve: Serve, changes: dict[str, Any], status: int) -> None:
    client = serve(intake_hotkeys=KNOWN)
    answer = client.post("/fiber/key-exchange", json=exchange_body(client, **changes))
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
    assert client.get("/fiber/stats").json()["total_symmetric_keys"] == 0


def test_a_key_for_another_server_is_400(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN)
    foreign = base64.b64encode(encrypt_symmetric_key(rsa_key(1).public_key(), KEY)).decode()
    answer = client.post("/fiber/key-exchange", json=exchange_body(client, encrypted_symmetric_key=foreign))
    assert (answer.status_code, "another public key" in answer.json()["detail"]) == (400, True)


def test_w_17_an_exchange_opens_one_session_also_across_a_restart(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN)
    body = exchange_body(client)
    assert client.post("/fiber/key-exchange", json=body).status_code == 200
    for each in (client, serve(intake_hotkeys=KNOWN)):
        again = each.post("/fiber/key-exchange", json=body)
        assert (again.status_code, "used before" in again.json()["detail"]) == (401, True)


def test_w_17_a_key_lives_by_the_servers_clock(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = opened(serve(intake_hotkeys=KNOWN), made_s=time.time() + 30)  # the sender's clock is ahead
    assert client.get("/fiber/stats").json() == {
        "active_hotkeys": 1,
        "total_symmetric_keys": 1,
        "key_ttl_seconds": 3600,
    }
    parts = client.app.state.parts  # type: ignore[attr-defined]
    parts.handshakes._clock = lambda: time.time() + 3601
    assert challenge(client, body_of()).status_code == 401
    assert client.get("/fiber/stats").json()["total_symmetric_keys"] == 0


def test_a_restarted_validator_answers_401_and_takes_a_new_handshake(serve: Serve) -> None:
    opened(serve(intake_hotkeys=KNOWN))
    restarted = serve(intake_hotkeys=KNOWN)
    assert (answer := challenge(restarted, body_of())).status_code == 401
    assert answer.json() == UNDECRYPTABLE
    assert challenge(opened(restarted, key_uuid="u-1"), body_of()).status_code == 201


@pytest.mark.parametrize(
    ("plaintext", "status", "detail"),
    [
        (b"", 401, "Failed to decrypt payload"),
        (b"\xff\xfe", 400, "Invalid JSON in decrypted payload"),
        (b"{", 400, "Invalid JSON in decrypted payload"),
        (b'{"id": "a", "prompt": NaN}', 400, "Invalid JSON in decrypted payload"),
        (b"[" * 100_000, 400, "Invalid JSON in decrypted payload"),
        (b"[]", 400, "Invalid challenge data"),
        (b"{}", 400, "Invalid challenge data: id: Field required"),
        (b'{"id": 7, "prompt": "hi"}', 400, "Invalid challenge data: id"),
        (b'{"id": "a"}', 400, "nothing to answer"),
        (b'{"id": "a", "prompt": "hi", "max_tokens": 1e400}', 400, "Invalid JSON"),
    ],
)
def test_what_was_decrypted_is_refused_with_the_networks_codes(
    serve: Serve, plaintext: bytes, status: int, detail: str
) -> None:
    answer = challenge(opened(serve(intake_hotkeys=KNOWN)), plaintext)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert len(answer.content) < 1200


def test_what_cannot_be_decrypted_is_401(serve: Serve) -> None:
    client = opened(serve(intake_hotkeys=KNOWN))
    assert client.post("/fiber/challenge", content=b"x", headers={}).status_code == 422
    assert challenge(client, body_of(), new_symmetric_key()).json() == UNDECRYPTABLE
    assert challenge(client, body_of(), **{"symmetric-key-uuid": "u-9"}).status_code == 401
    assert challenge(client, body_of(), **{"hotkey-ss58-address": STRANGER.ss58_address}).status_code == 401
    assert client.post("/fiber/challenge", content=b"\x80garbage", headers=HEADERS).json() == UNDECRYPTABLE
    assert client.get("/challenges/stats").json()["total_received"] == 0


@pytest.mark.parametrize(("mode", "address"), [("signature-optional", AWAY), ("open", HERE), ("required", HERE)])
def test_unsigned_sessions_where_no_signature_is_needed(serve: Serve, mode: str, address: tuple[str, int]) -> None:
    client = serve(address, intake_auth=mode, api_host="127.0.0.1")
    assert challenge(opened(client, signer=None), body_of()).status_code == 201


def test_an_open_intake_looks_at_no_signature(serve: Serve) -> None:
    client = serve(HERE, intake_auth="open", api_host="127.0.0.1")
    assert challenge(opened(client, signature="nope"), body_of()).status_code == 201


def test_a_store_that_cannot_be_written_is_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(intake_hotkeys=KNOWN)

    def locked(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(Nonces, "use", locked)
    monkeypatch.setattr(Users, "register", locked)
    for answer in (
        client.post("/fiber/key-exchange", json=exchange_body(client)),
        client.post("/register", json={"hotkey": "5A"}),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
        assert "locked" not in answer.text


def test_a_stranger_cannot_push_a_known_hotkeys_session_out(serve: Serve) -> None:
    client = opened(serve(intake_auth="signature-optional", intake_sessions_per_hotkey=2))
    for number in range(3):
        opened(client, key_uuid=f"x-{number}", signer=None)
    opened(client, key_uuid="u-1", signer=None)
    assert challenge(client, body_of()).status_code == 201
    assert client.get("/fiber/stats").json()["total_symmetric_keys"] == 3


def test_a_stranger_cannot_push_an_unsigned_session_of_another_address_out(serve: Serve) -> None:
    bounds = {"intake_auth": "signature-optional", "intake_sessions_per_hotkey": 2, "intake_max_sessions": 4}
    client = opened(serve(**bounds), signer=None)
    handshakes = client.app.state.parts.handshakes  # type: ignore[attr-defined]
    for number in range(9):
        name = VALIDATOR.ss58_address if number % 2 else STRANGER.ss58_address
        exchange = exchange_body(client, f"x-{number}", signer=None, hotkey_ss58=name)
        asyncio.run(handshakes.open(parse_push_key_exchange(json.dumps(exchange).encode()), None, "198.51.100.1"))
    assert challenge(client, body_of()).status_code == 201
    assert client.get("/fiber/stats").json()["total_symmetric_keys"] <= 4


def test_w_5_w_17_what_ties_an_exchange_to_its_receiver_and_key(serve: Serve, own_home: Path) -> None:
    """Today's signed text names neither: a relay that is faster than the sender opens a session of its own with it.

    With a binding_signature it cannot; INTAKE_REQUIRE_BINDING takes no exchange without one.
    """
    keep_wallet(own_home, OWN)
    changes = {"intake_hotkeys": KNOWN, "wallet_path": own_home / "wallets"}
    client, strict = serve(**changes), serve(**changes, intake_require_binding=True)
    pem = client.get("/fiber/public-key").json()["public_key"]
    others_key = base64.b64encode(encrypt_symmetric_key(load_public_key(pem), new_symmetric_key())).decode()

    def status(to: TestClient, key_uuid: str, recipient: str | None, **changed: Any) -> int:
        body = exchange_body(to, key_uuid, recipient=recipient) | changed
        return int(to.post("/fiber/key-exchange", json=body).status_code)

    assert status(client, "u-1", None, encrypted_symmetric_key=others_key) == 200, "the limit of today's format"
    assert status(strict, "u-2", None, encrypted_symmetric_key=others_key) == 401
    for number, each in enumerate((client, strict)):
        assert status(each, f"a-{number}", OWN.ss58_address) == 200
        assert status(each, f"b-{number}", OWN.ss58_address, encrypted_symmetric_key=others_key) == 401
        assert status(each, f"c-{number}", STRANGER.ss58_address) == 401
        assert status(each, f"d-{number}", OWN.ss58_address, binding_signature="nope") == 401


def test_a_required_binding_is_not_given_up_where_the_own_hotkey_is_unknown(serve: Serve, own_home: Path) -> None:
    client = serve(intake_hotkeys=KNOWN, wallet_path=own_home, intake_require_binding=True)
    answer = client.post("/fiber/key-exchange", json=exchange_body(client, recipient=OWN.ss58_address))
    assert (answer.status_code, "hotkey cannot be read" in answer.json()["detail"]) == (401, True)


def test_a_time_is_signed_as_it_was_written_or_as_python_writes_it(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN)
    now_s = int(time.time())
    for number, written in enumerate((f"{now_s}", f"{now_s}.0", f"{now_s}.50")):
        body = exchange_body(client, f"u-{number}")
        text = f"{written}.{VALIDATOR.ss58_address}.u-{number}".encode()
        sent = json.dumps(body | {"timestamp": "@", "signature": VALIDATOR.sign(text).hex()}).replace('"@"', written)
        assert client.post("/fiber/key-exchange", content=sent).status_code == 200
        respelled = sent.replace(f'"timestamp": {written}', f'"timestamp": {float(written):.3f}')
        assert client.post("/fiber/key-exchange", content=respelled).status_code == 401, "one time, one nonce"


def test_w_18_sessions_are_bounded_per_hotkey_and_in_all(serve: Serve) -> None:
    client = serve(HERE, intake_sessions_per_hotkey=2, intake_max_sessions=3)
    for number in range(4):
        opened(client, key_uuid=f"u-{number}")
    assert client.get("/fiber/stats").json()["total_symmetric_keys"] == 2
    for number in range(4):
        opened(client, key_uuid=f"s-{number}", signer=STRANGER)
        assert client.get("/fiber/stats").json()["total_symmetric_keys"] <= 3


def test_w_19_no_private_key_operation_before_a_signature_is_right(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    decrypted: list[object] = []
    monkeypatch.setattr("loosh_pipeline.wire.sessions.decrypt_symmetric_key", lambda *given: decrypted.append(given))
    client = serve(intake_hotkeys=KNOWN)
    for changes in ({"signature": "00" * 64}, {"signer": STRANGER}, {"signer": None}, {"made_s": 0.5}):
        assert client.post("/fiber/key-exchange", json=exchange_body(client, **changes)).status_code in (401, 403)
    assert decrypted == []


def test_w_19_key_exchanges_count_more_and_are_limited(serve: Serve) -> None:
    client = serve(intake_hotkeys=KNOWN, intake_rate_per_address=5.0)
    bodies = [exchange_body(client, key_uuid=f"u-{number}", signature="00" * 64) for number in range(8)]
    answers = [client.post("/fiber/key-exchange", json=body) for body in bodies]
    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_w_19_too_many_exchanges_at_once_are_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "MAX_UNDER_WAY", 0)
    client = serve(HERE)
    answer = client.post("/fiber/key-exchange", json=exchange_body(client))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_key_exchange_is_small(serve: Serve) -> None:
    client = serve(HERE)
    assert client.post("/fiber/key-exchange", content=b"{" + b" " * 20_000).status_code == 413


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One ingress for all examples of a property."""
    app = create_app(Settings(loosh_home=tmp_path_factory.mktemp("fiber"), _env_file=None))
    with TestClient(app, client=HERE, raise_server_exceptions=False) as client:
        yield opened(client)


few = bounded(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["id", "prompt", "messages", "tools", "max_tokens", "created_at", "temperature", "metadata"])
field_names = st.sampled_from(["encrypted_symmetric_key", "key_uuid", "timestamp", "signature", "hotkey_ss58"])


@few
@given(st.binary(max_size=300) | st.dictionaries(names, json_values).map(lambda value: json.dumps(value).encode()))
def test_any_plaintext_is_answered_and_none_with_500(local: TestClient, plaintext: bytes) -> None:
    assert challenge(local, plaintext).status_code in (201, 400, 401, 409)


@few
@given(st.binary(max_size=300))
def test_any_token_is_answered_with_401(local: TestClient, token: bytes) -> None:
    assert local.post("/fiber/challenge", content=token, headers=HEADERS).status_code == 401


@few
@given(st.dictionaries(field_names, json_values, min_size=1))
def test_any_key_exchange_is_answered_and_none_with_500(local: TestClient, changes: dict[str, Any]) -> None:
    body = json.dumps(exchange_body(local, key_uuid="u-2") | changes)
    assert local.post("/fiber/key-exchange", content=body).status_code in (200, 400, 401, 422)


@few
@given(st.binary(max_size=200))
def test_any_bytes_are_no_key_exchange(local: TestClient, body: bytes) -> None:
    assert local.post("/fiber/key-exchange", content=body).status_code == 422

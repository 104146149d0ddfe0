"""Asking miners over real loopback sockets, and what is recorded of each."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loosh_pipeline.domain import Outcome, Response, Usage
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire import miner_client
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.batch import Evaluation, build_response_batch
from loosh_pipeline.wire.client_sessions import SessionBook
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import new_symmetric_key, seal
from loosh_pipeline.wire.miner_client import CHARS_A_TOKEN, FREE_CHARS
from loosh_pipeline.wire.sessions import HandshakeServer
from tests import builders
from tests.wire.asking import (
    HANDSHAKE,
    MAX_BYTES,
    ONCE,
    RENEWED,
    RENEWED_INLINE,
    ask,
    ask_all,
    foreign_token,
    refuses,
    says,
    sends,
    stale_token,
)
from tests.wire.peers import VALIDATOR, Asked, HostileMiner, Scripted, good, http, http_json, listening, rsa_key


def test_answer_is_recorded_whole() -> None:
    plaintext = (
        b'{"response_text": "42", "response_time_ms": 1, "finish_reason": "length", "tool_calls": [{"id": "1"}],'
        b' "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}'
    )
    miner = HostileMiner([says(plaintext)])
    response = ask(miner, id="c-7")
    assert (response.outcome, response.detail, response.text) == (Outcome.ANSWERED, "", "42")
    assert (response.challenge_id, response.hotkey, response.coldkey) == ("c-7", "hotkey-1", "coldkey-1")
    assert (response.ip, response.uid) == ("127.0.0.1", 1)
    assert (response.finish_reason, response.tool_calls) == ("length", ({"id": "1"},))
    assert response.usage == Usage(1, 2, 3)
    assert response.sha256 == hashlib.sha256(plaintext).hexdigest()
    assert miner.paths == ONCE


def test_request_headers_and_handshake_body() -> None:
    seen: list[Asked] = []

    def record(asked: Asked) -> bytes:
        seen.append(asked)
        return good(asked)

    miner = HostileMiner([record])
    ask(miner)
    headers = seen[0].headers
    assert headers["x-fiber-validator-hotkey-ss58"] == VALIDATOR.ss58_address
    assert headers["content-type"] == "application/octet-stream"
    assert headers["accept-encoding"] == "identity"
    assert headers["x-fiber-symmetric-key-uuid"] == miner.exchanges[0]["symmetric_key_uuid"]


@pytest.mark.parametrize(
    ("scripts", "outcome", "detail", "paths"),
    [
        ([refuses(503, "Model is loading")], Outcome.UNAVAILABLE, "Model is loading", ONCE),
        ([refuses(500)], Outcome.UNAVAILABLE, "HTTP 500", ONCE),
        ([refuses(403, "not whitelisted")], Outcome.REFUSED, "not whitelisted", ONCE),
        ([refuses(422)], Outcome.REFUSED, "HTTP 422", ONCE),
        ([sends(http_json(429, {}, retry_after="7"))], Outcome.RATE_LIMITED, "retry after 7", ONCE),
        ([refuses(401), good], Outcome.ANSWERED, "", RENEWED),
        ([refuses(400), good], Outcome.REFUSED, "HTTP 400", ONCE),
        ([refuses(401)], Outcome.HANDSHAKE_FAILED, "HTTP 401", RENEWED),
        ([refuses(400, "bad prompt")], Outcome.REFUSED, "bad prompt", ONCE),
        ([refuses(401, public_key=7, requires_handshake=True), good], Outcome.ANSWERED, "", RENEWED),
        ([sends(http(200, b"garbage")), good], Outcome.ANSWERED, "", RENEWED),
        ([sends(http(200, b"garbage"))], Outcome.UNDECRYPTABLE, "token", RENEWED),
        ([sends(http(200))], Outcome.UNDECRYPTABLE, "0 bytes", RENEWED),
        ([foreign_token], Outcome.UNDECRYPTABLE, "token", RENEWED),
        ([stale_token], Outcome.UNDECRYPTABLE, "too old", RENEWED),
        ([says(b"{}")], Outcome.MALFORMED, "response_text", ONCE),
        ([says(b'{"response_text": null}')], Outcome.MALFORMED, "response_text", ONCE),
        ([says(b"null")], Outcome.MALFORMED, "null", ONCE),
        ([says(b"[" * 50_000)], Outcome.MALFORMED, "JSON", ONCE),
        ([says(b"\x00\xff")], Outcome.MALFORMED, "JSON", ONCE),
        ([says(b'{"response_text": " "}')], Outcome.EMPTY, "", ONCE),
        ([says(b'{"response_text": "", "tool_calls": [{}]}')], Outcome.ANSWERED, "", ONCE),
        ([sends(http(302, location="http://127.0.0.1:1/"))], Outcome.MALFORMED, "HTTP 302", ONCE),
        ([sends(http(204))], Outcome.MALFORMED, "HTTP 204", ONCE),
        ([sends(http(200, b"x" * (MAX_BYTES + 1)))], Outcome.TOO_LARGE, str(MAX_BYTES), ONCE),
        ([sends(http(200, content_length="9999999999"))], Outcome.TOO_LARGE, str(MAX_BYTES), ONCE),
        ([sends(http(200, gzip.compress(bytes(9_000_000)), content_encoding="gzip"))], Outcome.MALFORMED, "gzip", ONCE),
        ([sends(http(503, b"x" * 200_000))], Outcome.UNAVAILABLE, "HTTP 503", ONCE),
        ([sends(b"")], Outcome.TIMEOUT, "challenge", ONCE),
        ([sends(b"nonsense\r\n\r\n")], Outcome.UNREACHABLE, "connection lost", ONCE),
        ([sends(b"HTTP/1.1 200 X\r\n" + b"a: " + b"b" * 200_000)], Outcome.UNREACHABLE, "connection lost", ONCE),
        ([says(b'{"response_text": "x"}', x_fiber_miner_hotkey_ss58="5other")], Outcome.BAD_ADDRESS, "5other", ONCE),
        ([says(b'{"response_text": "x"}', x_fiber_miner_hotkey_ss58="hotkey-1")], Outcome.ANSWERED, "", ONCE),
    ],
)
def test_outcome_of_each_way_to_answer(
    scripts: list[Scripted], outcome: Outcome, detail: str, paths: list[str]
) -> None:
    miner = HostileMiner(scripts)
    response = ask(miner, timeout_s=1.5 if outcome is Outcome.TIMEOUT else 5.0)
    assert (response.outcome, miner.paths) == (outcome, paths), response.detail
    assert detail in response.detail
    assert len(response.detail) < 250
    if outcome not in (Outcome.ANSWERED, Outcome.EMPTY):
        assert response.text == ""


@pytest.mark.parametrize(
    ("fields", "outcome", "detail", "paths"),
    [
        ({"public_key": http_json(403, {})}, Outcome.REFUSED, "public key: HTTP 403", HANDSHAKE[:1]),
        ({"public_key": http_json(429, {})}, Outcome.RATE_LIMITED, "HTTP 429", HANDSHAKE[:1]),
        ({"public_key": http_json(503, {})}, Outcome.UNAVAILABLE, "HTTP 503", HANDSHAKE[:1]),
        ({"public_key": http_json(404, {})}, Outcome.HANDSHAKE_FAILED, "HTTP 404", HANDSHAKE[:1]),
        ({"public_key": http(301, location="/x")}, Outcome.HANDSHAKE_FAILED, "HTTP 301", HANDSHAKE[:1]),
        ({"public_key": http(200, b"nonsense")}, Outcome.HANDSHAKE_FAILED, "JSON", HANDSHAKE[:1]),
        ({"public_key": http_json(200, {"public_key": "x"})}, Outcome.HANDSHAKE_FAILED, "PEM", HANDSHAKE[:1]),
        ({"public_key": http(200, b"x" * 100_000)}, Outcome.TOO_LARGE, "65536", HANDSHAKE[:1]),
        ({"key_exchange": http_json(200, {"success": False})}, Outcome.HANDSHAKE_FAILED, "success", HANDSHAKE),
        ({"key_exchange": http_json(200, [])}, Outcome.HANDSHAKE_FAILED, "object", HANDSHAKE),
        ({"key_exchange": http_json(400, {"detail": "bad nonce"})}, Outcome.HANDSHAKE_FAILED, "bad nonce", HANDSHAKE),
        ({"key_exchange": http_json(403, {"detail": "who?"})}, Outcome.REFUSED, "who?", HANDSHAKE),
    ],
)
def test_outcome_of_each_way_to_refuse_the_handshake(
    fields: dict[str, bytes], outcome: Outcome, detail: str, paths: list[str]
) -> None:
    miner = HostileMiner(**fields)  # type: ignore[arg-type]
    response = ask(miner)
    assert (response.outcome, miner.paths) == (outcome, paths), response.detail
    assert detail in response.detail
    assert response.elapsed_ms is None
    assert response.handshake_ms is None


def even_key() -> str:
    """A public key that loads and cannot encrypt."""
    modulus = rsa_key().public_key().public_numbers().n - 1
    encoded = (
        rsa.RSAPublicNumbers(65537, modulus)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return encoded.decode()


def ask_both(odd: HostileMiner, **fields: Any) -> tuple[Response, ...]:
    """Ask `odd` (uid 1) and a good miner (uid 2) in one round."""

    async def scenario() -> tuple[Response, ...]:
        async with listening(odd.serve) as port, listening(HostileMiner().serve) as fine:
            return await ask_all([builders.neuron(1, port=port), builders.neuron(2, port=fine)], **fields)

    return asyncio.run(scenario())


def test_key_that_cannot_encrypt_fails_its_miner_alone() -> None:
    odd, fine = ask_both(HostileMiner(public_key=http_json(200, {"public_key": even_key()})))
    assert (odd.outcome, fine.outcome) == (Outcome.HANDSHAKE_FAILED, Outcome.ANSWERED)
    assert "cannot encrypt" in odd.detail


@pytest.mark.parametrize(
    ("part", "outcome"),
    [("load_public_key", Outcome.HANDSHAKE_FAILED), ("parse_answer", Outcome.MALFORMED)],
)
def test_what_nobody_foresaw_fails_its_miner_alone(
    part: str, outcome: Outcome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proper = getattr(miner_client, part)

    def surprised(received: str | bytes) -> Any:
        if "odd" in str(received):
            raise LookupError("a surprise")
        return proper(received)

    monkeypatch.setattr(miner_client, part, surprised)
    offered = http_json(200, {"public_key": "odd"}) if part == "load_public_key" else None
    odd, fine = ask_both(HostileMiner([says(b'{"response_text": "odd"}')], public_key=offered))
    assert (odd.outcome, fine.outcome) == (outcome, Outcome.ANSWERED)
    assert "unexpected LookupError: a surprise" in odd.detail
    assert any(odd.hotkey in record.getMessage() and record.exc_info for record in caplog.records)


def test_key_offered_with_the_refusal_saves_a_round_trip() -> None:
    miner = HostileMiner()

    def restarted(asked: Asked) -> bytes:
        """The miner forgot its sessions and its RSA key, as after a restart."""
        asked.miner.handshakes = HandshakeServer(private_key=rsa_key(1))
        pem = asked.miner.handshakes.public_pem
        return http_json(401, {"detail": "unknown", "public_key": pem, "requires_handshake": True})

    miner.challenge = [restarted, good]
    response = ask(miner)
    assert (response.outcome, miner.paths) == (Outcome.ANSWERED, RENEWED_INLINE)


def test_w_12_an_undecryptable_answer_costs_one_more_handshake() -> None:
    miner = HostileMiner([sends(http(200, b"garbage"))])
    assert ask(miner).outcome is Outcome.UNDECRYPTABLE
    assert miner.paths == RENEWED


def test_w_12_a_long_undecryptable_answer_costs_none() -> None:
    """It is decrypted when everyone is in: too late for another handshake, and seen in nobody's time."""
    miner = HostileMiner([sends(http(200, b"g" * 300_000))])
    response = ask(miner, max_bytes=1_000_000)
    assert (response.outcome, miner.paths) == (Outcome.UNDECRYPTABLE, ONCE)
    assert response.elapsed_ms is not None


def test_a_long_answer_is_an_answer() -> None:
    text = "word " * 100_000
    miner = HostileMiner([lambda asked: asked.answer(json.dumps({"response_text": text}).encode())])
    response = ask(miner, max_bytes=1_000_000, max_tokens=125_000)
    assert (response.outcome, response.text, miner.paths) == (Outcome.ANSWERED, text, ONCE)


MOST = CHARS_A_TOKEN * 10 + FREE_CHARS


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"response_text": "x" * MOST}, Outcome.ANSWERED),
        ({"response_text": "\u0800" * MOST}, Outcome.ANSWERED),
        ({"response_text": "x" * (MOST + 1)}, Outcome.TOO_LARGE),
        ({"response_text": "", "tool_calls": [{"id": "x" * (MOST - 12)}]}, Outcome.ANSWERED),
        ({"response_text": "", "tool_calls": [{"id": "x" * (MOST - 11)}]}, Outcome.TOO_LARGE),
        ({"response_text": "x" * (MOST - 2000), "tool_calls": [{"id": "x" * 2000}]}, Outcome.TOO_LARGE),
    ],
)
def test_w_8_an_answer_is_about_as_long_as_was_asked_for(fields: dict[str, Any], outcome: Outcome) -> None:
    response = ask(HostileMiner([says(json.dumps(fields, ensure_ascii=False).encode())]), max_tokens=10)
    assert response.outcome is outcome, response.detail
    if outcome is Outcome.TOO_LARGE:
        assert response.detail.endswith(f"at most {MOST} are taken for max_tokens 10")
        assert (response.text, response.tool_calls) == ("", None)
        assert len(response.sha256) == 64


def test_w_8_one_huge_answer_leaves_the_batch_of_the_others_as_it_is() -> None:
    huge = json.dumps({"response_text": "\u0800" * 20_000}, ensure_ascii=False).encode()
    odd, fine = ask_both(HostileMiner([says(huge)]), max_tokens=10)
    batch = build_response_batch(builders.challenge(), (odd, fine), Evaluation(0.0), VALIDATOR.ss58_address)
    assert [entry["miner_id"] for entry in batch["responses"]] == [fine.hotkey]
    assert len(seal(new_symmetric_key(), encode_json(batch))) < 4096


KEPT_ONCE = ["challenge"]


KEPT_RENEWED = ["challenge", *ONCE]


@pytest.mark.parametrize(
    ("refusal", "paths"),
    [
        (http_json(400, {"detail": "Neither prompt nor messages provided"}), KEPT_ONCE),
        (http_json(400, {"detail": "Invalid JSON in decrypted payload"}), KEPT_ONCE),
        (http_json(400, {"detail": "max_tokens must be positive"}), KEPT_ONCE),
        (http_json(400, {"detail": "Failed to decrypt payload"}), KEPT_RENEWED),
        (http_json(400, {"detail": "unknown symmetric key"}), KEPT_RENEWED),
        (http_json(400, {"detail": "odd prompt", "requires_handshake": True}), KEPT_RENEWED),
        (http_json(400, {"detail": 7}), KEPT_RENEWED),
        (http(400, b"no"), KEPT_RENEWED),
        (http_json(403, {"detail": "no"}), KEPT_ONCE),
        (http_json(422, {"detail": "no"}), KEPT_ONCE),
        (http_json(429, {"detail": "no"}), KEPT_ONCE),
    ],
)
def test_w_35_what_no_new_key_can_help_is_not_sent_again(refusal: bytes, paths: list[str]) -> None:
    miner = HostileMiner([sends(refusal)])
    ask(miner, kept=True)
    assert miner.paths == paths


@pytest.mark.parametrize("fields", [{}, {"requires_handshake": True}])
def test_w_35_a_400_to_a_key_of_a_moment_ago_costs_no_handshake_and_keeps_the_key(fields: dict[str, Any]) -> None:
    book = SessionBook()
    miner = HostileMiner([refuses(400, "Failed to decrypt payload", **fields)])
    response = ask(miner, sessions=book)
    assert (response.outcome, miner.paths) == (Outcome.REFUSED, ONCE)
    assert len(book.opened) == 1


def test_w_34_a_miner_that_admits_no_stranger_names_the_active_list() -> None:
    """Miners take their allowlist from the Challenge API: that is where an operator has to be let in."""
    for miner in (
        HostileMiner([refuses(403, "Validator hotkey is not whitelisted")]),
        HostileMiner(key_exchange=http_json(403, {"detail": "no"})),
    ):
        response = ask(miner)
        assert response.outcome is Outcome.REFUSED
        assert response.detail.endswith("is this validator on the Challenge API's active list?")


def test_an_impostor_loses_its_session_too() -> None:
    book = SessionBook()
    ask(HostileMiner([says(b'{"response_text": "x"}', x_fiber_miner_hotkey_ss58="5other")]), sessions=book)
    assert book.opened == {}


def test_w_7_private_addresses_are_not_asked() -> None:
    miner = HostileMiner()
    response = ask(miner, rules=AddressRules())
    assert (response.outcome, miner.paths) == (Outcome.BAD_ADDRESS, [])
    assert "127.0.0.1" in response.detail


def test_ipv6_miner() -> None:
    async def scenario() -> Response:
        async with listening(HostileMiner().serve, host="::1") as port:
            (response,) = await ask_all([builders.neuron(ip="::1", port=port)])
            return response

    assert asyncio.run(scenario()).outcome is Outcome.ANSWERED


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert ask(HostileMiner()).outcome is Outcome.ANSWERED


def test_relayed_signature_is_bound_to_the_miner_and_the_key() -> None:
    miner = HostileMiner()
    ask(miner)
    assert miner.exchanges[0]["binding_signature"].startswith("0x")
    assert len(miner.exchanges[0]["binding_signature"]) == 130


def test_random_bytes_never_raise() -> None:
    rng = Random(7)
    pieces = [b"HTTP/1.1 200 OK\r\n", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"\r\n", b"5\r\n"]
    pieces += [b"set-cookie: a=b; expires=\xff\r\n", b"location: http://[\r\n", b"HTTP/1.1 302 X\r\n", b"\x00\xff:"]

    def noise(asked: Asked) -> bytes:
        return b"".join(rng.choices(pieces, k=rng.randint(1, 8))) + rng.randbytes(5) + b"\r\n\r\n"

    async def scenario() -> list[Outcome]:
        async with listening(HostileMiner([noise]).serve) as port:
            neurons = [builders.neuron(uid, port=port) for uid in range(1, 61)]
            return [response.outcome for response in await ask_all(neurons, timeout_s=1.5)]

    assert Outcome.ANSWERED not in asyncio.run(scenario())


def test_challenge_that_is_no_json_is_the_callers_fault() -> None:
    with pytest.raises(WireError, match="JSON"):
        asyncio.run(ask_all([builders.neuron()], temperature=float("nan")))


def test_nobody_to_ask() -> None:
    assert asyncio.run(ask_all([])) == ()

"""Asking miners over real loopback sockets, and what is recorded of each."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loosh_pipeline.domain import Neuron, Outcome, Response, Usage
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire import miner_client
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.crypto import new_symmetric_key, seal
from loosh_pipeline.wire.miner_client import ask_miners
from loosh_pipeline.wire.miner_sessions import SessionBook
from loosh_pipeline.wire.sessions import HandshakeServer
from tests import builders
from tests.wire.peers import VALIDATOR, Asked, HostileMiner, Scripted, good, http, http_json, listening, rsa_key

HANDSHAKE = ["public-key", "key-exchange"]
ONCE = [*HANDSHAKE, "challenge"]
RENEWED = [*ONCE, *ONCE]
RENEWED_INLINE = [*ONCE, "key-exchange", "challenge"]
MAX_BYTES = 100_000
HERE = AddressRules(allow_private=True)


def ask(miner: HostileMiner, **options: Any) -> Response:
    async def scenario() -> Response:
        async with listening(miner.serve) as port:
            (response,) = await ask_all([builders.neuron(port=port)], **options)
            return response

    return asyncio.run(scenario())


async def ask_all(
    neurons: Sequence[Neuron],
    timeout_s: float = 5.0,
    rules: AddressRules = HERE,
    sessions: SessionBook | None = None,
    **fields: Any,
) -> tuple[Response, ...]:
    return await ask_miners(
        neurons,
        builders.challenge(**fields),
        signer=VALIDATOR,
        timeout_s=timeout_s,
        max_response_bytes=MAX_BYTES,
        rules=rules,
        sessions=sessions,
    )


def says(plaintext: bytes, **headers: str) -> Scripted:
    return lambda asked: asked.answer(plaintext, **headers)


def sends(raw: bytes) -> Scripted:
    return lambda asked: raw


def refuses(status: int, detail: str = "no", **fields: Any) -> Scripted:
    return sends(http_json(status, {"detail": detail, **fields}))


async def hang(asked: Asked) -> bytes:
    await asyncio.sleep(60)
    return b""


def foreign_token(asked: Asked) -> bytes:
    return http(200, seal(new_symmetric_key(), b'{"response_text": "x"}'))


def stale_token(asked: Asked) -> bytes:
    token = Fernet(asked.key).encrypt_at_time(b'{"response_text": "x"}', int(time.time()) - 4000)
    return http(200, token)


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
        ([refuses(400), good], Outcome.ANSWERED, "", RENEWED),
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
    response = ask(miner, timeout_s=0.5 if outcome is Outcome.TIMEOUT else 5.0)
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


def ask_both(odd: HostileMiner) -> tuple[Response, ...]:
    """Ask `odd` (uid 1) and a good miner (uid 2) in one round."""

    async def scenario() -> tuple[Response, ...]:
        async with listening(odd.serve) as port, listening(HostileMiner().serve) as fine:
            return await ask_all([builders.neuron(1, port=port), builders.neuron(2, port=fine)])

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


def test_slow_miner_is_answered_and_its_time_excludes_the_handshake() -> None:
    async def slowly(asked: Asked) -> bytes:
        await asyncio.sleep(0.3)
        return good(asked)

    response = ask(HostileMiner([slowly]))
    assert response.outcome is Outcome.ANSWERED
    assert response.elapsed_ms is not None
    assert response.handshake_ms is not None
    assert 300 <= response.elapsed_ms < 900
    assert 0 < response.handshake_ms < 300


def test_time_of_a_refused_request_does_not_count() -> None:
    async def refuse_slowly(asked: Asked) -> bytes:
        await asyncio.sleep(0.4)
        return http_json(401, {})

    response = ask(HostileMiner([refuse_slowly, good]))
    assert response.outcome is Outcome.ANSWERED
    assert response.elapsed_ms is not None
    assert response.elapsed_ms < 400


def test_all_at_once_in_order_and_in_time() -> None:
    async def scenario() -> tuple[tuple[Response, ...], float]:
        async with listening(HostileMiner().serve) as fine, listening(HostileMiner([hang]).serve) as hanging:
            async with listening(HostileMiner().serve) as closed:
                pass
            neurons = [
                builders.neuron(1, port=hanging),
                builders.neuron(2, port=fine),
                builders.neuron(3, port=closed),
                builders.neuron(4, ip=None),
                builders.neuron(5, port=fine, ip="0.0.0.1"),
                builders.neuron(6, port=0),
            ]
            started_s = time.perf_counter()
            return await ask_all(neurons, timeout_s=1.0), time.perf_counter() - started_s

    responses, took_s = asyncio.run(scenario())
    assert [response.uid for response in responses] == [1, 2, 3, 4, 5, 6]
    assert [response.outcome for response in responses] == [
        Outcome.TIMEOUT,
        Outcome.ANSWERED,
        Outcome.UNREACHABLE,
        Outcome.BAD_ADDRESS,
        Outcome.ANSWERED,
        Outcome.BAD_ADDRESS,
    ]
    assert 1.0 <= took_s < 2.0
    assert responses[0].elapsed_ms is None
    assert responses[0].handshake_ms is not None
    assert "challenge" in responses[0].detail


def test_dripping_miner_cannot_outlast_the_timeout() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def scenario() -> tuple[Response, float]:
        async with listening(drip) as port:
            started_s = time.perf_counter()
            (response,) = await ask_all([builders.neuron(port=port)], timeout_s=0.6)
            return response, time.perf_counter() - started_s

    response, took_s = asyncio.run(scenario())
    assert (response.outcome, took_s < 1.5) == (Outcome.TIMEOUT, True)
    assert "handshake" in response.detail


def test_private_addresses_are_not_asked() -> None:
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

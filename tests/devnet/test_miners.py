"""Devnet miners on real sockets, asked by the validator's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.behaviours import Behaviour, MinerScript, default_cast, scripts
from loosh_pipeline.devnet.miner_app import ChallengeCounter, create_miner_app
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.domain import Hotkey, Neuron, Outcome, Response
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, new_symmetric_key, seal, unseal
from loosh_pipeline.wire.messages import build_challenge, build_miner_key_exchange
from loosh_pipeline.wire.miner_client import ask_miners
from loosh_pipeline.wire.sessions import HandshakeServer
from tests import builders
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key

PROMPT = "Why is the sky blue?"
MODELS = ("atlas", "beacon", "cedar", "drift", "ember", "flint")
BOOK = AnswerBook.of_rows((PROMPT, model, f"{model} says so") for model in MODELS)
QUICK = {"delay_range_s": (0.0, 0.02), "slow_s": 0.3}
HOTKEY = Hotkey("miner-1")


def app(script: MinerScript, hotkey: str = HOTKEY, **options: Any) -> Any:
    options = {"handshakes": HandshakeServer(private_key=rsa_key())} | options
    return create_miner_app(Hotkey(hotkey), script, **options)


@contextlib.asynccontextmanager
async def subnet(cast: Sequence[Behaviour]) -> AsyncIterator[list[Neuron]]:
    parts = scripts(cast, BOOK, **QUICK)  # type: ignore[arg-type]
    neurons = [builders.neuron(uid) for uid in range(len(parts))]
    served = [
        Served(app(part, neuron.hotkey) if part.serves else None) for part, neuron in zip(parts, neurons, strict=True)
    ]
    async with serve_apps(served) as ports:
        yield [builders.neuron(neuron.uid, port=port) for neuron, port in zip(neurons, ports, strict=True)]


async def ask(neurons: Sequence[Neuron], signer: Any = VALIDATOR, **fields: Any) -> tuple[Response, ...]:
    return await ask_miners(
        neurons,
        builders.challenge(prompt=PROMPT, **fields),
        signer=signer,
        timeout_s=5.0,
        max_response_bytes=100_000,
        rules=AddressRules(allow_private=True),
    )


def test_default_cast_answers_as_it_should() -> None:
    cast = default_cast(10)

    async def scenario() -> tuple[tuple[Response, ...], ...]:
        async with subnet(cast) as neurons:
            later = builders.NOON.replace(minute=1)
            return await ask(neurons), await ask(neurons, received_at=later)

    first, second = (by_kind(cast, responses) for responses in asyncio.run(scenario()))
    assert [one.text for one in first[Behaviour.GOOD]] == ["atlas says so", "beacon says so"]
    assert [one.text for one in first[Behaviour.WEAK]] == ["flint says so"]
    assert [one.text for one in first[Behaviour.ECHO]] == [PROMPT]
    assert [one.text for one in first[Behaviour.COPY_RING]] == ["drift says so"] * 2
    assert first[Behaviour.DEAD][0].outcome is Outcome.UNREACHABLE
    assert first[Behaviour.HALF_BROKEN][0].outcome is Outcome.ANSWERED
    assert second[Behaviour.HALF_BROKEN][0].outcome is Outcome.UNDECRYPTABLE
    slow, good = first[Behaviour.SLOW][0], first[Behaviour.GOOD][0]
    assert (slow.elapsed_ms or 0) > 300 > (good.elapsed_ms or 0)
    assert (good.usage.total_tokens, good.finish_reason) == (8, "stop")


def test_a_miner_says_what_it_was_asked_and_when() -> None:
    async def scenario() -> tuple[float, list[dict[str, Any]], float]:
        async with subnet([Behaviour.STEADY]) as neurons:
            before_s = time.time()
            (answer,) = await ask(neurons)
            assert (answer.outcome, len(answer.text) > len(PROMPT)) == (Outcome.ANSWERED, True)
            async with httpx.AsyncClient(trust_env=False) as http:
                said = await http.get(f"http://127.0.0.1:{neurons[0].port}/received")
            return before_s, said.json(), time.time()

    before_s, received, after_s = asyncio.run(scenario())
    assert [row["prompt"] for row in received] == [PROMPT]
    assert before_s < received[0]["received_at_s"] < after_s


def by_kind(cast: Sequence[Behaviour], responses: Sequence[Response]) -> dict[Behaviour, list[Response]]:
    return {kind: [one for part, one in zip(cast, responses, strict=True) if part is kind] for kind in Behaviour}


def test_challenge_sent_again_keeps_its_number() -> None:
    counter = ChallengeCounter(max_remembered=2)
    assert [counter.number(text) for text in (b"a", b"b", b"a", b"c", b"b", b"a")] == [1, 2, 1, 3, 2, 4]


class Wire:
    """One miner spoken to request by request."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.key = new_symmetric_key()

    async def exchange(self, **changes: Any) -> httpx.Response:
        pem = (await self.http.get("/fiber/public-key")).json()["public_key"]
        ciphertext = encrypt_symmetric_key(load_public_key(pem), self.key)
        body = build_miner_key_exchange(VALIDATOR, HOTKEY, "u-1", ciphertext, timestamp_s=time.time(), nonce="n-1")
        return await self.http.post("/fiber/key-exchange", json=body | changes)

    async def challenge(self, body: bytes, **headers: str) -> httpx.Response:
        fields = {"validator-hotkey-ss58": VALIDATOR.ss58_address, "symmetric-key-uuid": "u-1"}
        named = {f"x-fiber-{name}": value for name, value in fields.items()} | headers
        return await self.http.post("/fiber/challenge", content=body, headers=named)


@contextlib.asynccontextmanager
async def wire(**options: Any) -> AsyncIterator[Wire]:
    script = scripts([Behaviour.GOOD], BOOK, delay_range_s=(0.0, 0.0))[0]
    transport = httpx.ASGITransport(app(script, **options))
    async with httpx.AsyncClient(transport=transport, base_url="http://miner") as http:
        yield Wire(http)


def test_endpoints_and_status_codes() -> None:
    plaintext = encode_json(build_challenge(builders.challenge(prompt=PROMPT)))

    async def scenario() -> None:
        async with wire() as miner:
            assert (await miner.http.get("/availability")).json() == {"available": True}
            unknown = await miner.challenge(b"x")
            assert unknown.status_code == 401
            assert unknown.json()["requires_handshake"] is True
            assert unknown.json()["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
            assert (await miner.exchange()).json() == {"success": True, "message": "Symmetric key exchanged"}
            undecryptable = await miner.challenge(b"x")
            assert (undecryptable.status_code, set(undecryptable.json())) == (401, {"detail"})
            assert (await miner.challenge(seal(miner.key, b"{}"))).status_code == 400
            assert (await miner.http.post("/fiber/challenge", content=b"x")).status_code == 422
            assert (await miner.challenge(bytes(9_000_000))).status_code == 413
            answer = await miner.challenge(seal(miner.key, plaintext))
            assert answer.status_code == 200
            assert answer.headers["x-fiber-miner-hotkey-ss58"] == HOTKEY
            assert answer.headers["x-fiber-symmetric-key-uuid"] == "u-1"
            assert json.loads(unseal(miner.key, answer.content))["response_text"] == "atlas says so"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"signature": "0x" + "00" * 64}, 400, "signature"),
        ({"timestamp": 1733011200.5, "binding_signature": None}, 400, "timestamp"),
        ({"validator_hotkey_ss58": STRANGER.ss58_address}, 400, "signature"),
        ({"binding_signature": "0x" + "00" * 64}, 400, "signature"),
        ({"encrypted_symmetric_key": "00" * 256}, 400, "signature"),
        ({"nonce": 1}, 422, "nonce"),
        ({"validator_hotkey_ss58": "nobody"}, 422, "nobody"),
    ],
)
def test_wrong_handshakes_are_refused(changes: dict[str, Any], status: int, detail: str) -> None:
    async def scenario() -> httpx.Response:
        async with wire() as miner:
            return await miner.exchange(**changes)

    answer = asyncio.run(scenario())
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


def test_nonce_is_good_once_and_binding_may_be_required() -> None:
    async def scenario() -> None:
        async with wire() as miner:
            assert (await miner.exchange(binding_signature=None)).status_code == 200
            replayed = await miner.exchange()
            assert replayed.status_code == 400
            assert "used before" in replayed.json()["detail"]
        async with wire(require_binding=True) as miner:
            assert (await miner.exchange(binding_signature=None)).status_code == 400
            assert (await miner.exchange()).status_code == 200

    asyncio.run(scenario())


def test_allowlist() -> None:
    async def scenario() -> list[Outcome]:
        script = scripts([Behaviour.GOOD], BOOK, delay_range_s=(0.0, 0.0))[0]
        async with serve_apps([Served(app(script, validators={VALIDATOR.ss58_address}))]) as (port,):
            neurons = [builders.neuron(hotkey=HOTKEY, port=port)]
            return [(await ask(neurons, signer))[0].outcome for signer in (VALIDATOR, STRANGER)]

    assert asyncio.run(scenario()) == [Outcome.ANSWERED, Outcome.REFUSED]


def test_shared_address_counts_for_its_own_hotkey_only() -> None:
    async def scenario() -> tuple[Response, ...]:
        async with subnet([Behaviour.GOOD]) as (neuron,):
            return await ask([neuron, builders.neuron(7, port=neuron.port)])

    own, borrowed = asyncio.run(scenario())
    assert own.outcome is Outcome.ANSWERED
    assert (borrowed.outcome, borrowed.text) == (Outcome.HANDSHAKE_FAILED, "")
    assert "signature" in borrowed.detail


def test_restarted_miner_has_a_new_key_and_is_asked_again() -> None:
    script = scripts([Behaviour.GOOD], BOOK, delay_range_s=(0.0, 0.0))[0]

    async def scenario() -> list[Outcome]:
        outcomes, port = [], 0
        for number in (0, 1):
            handshakes = HandshakeServer(private_key=rsa_key(number))
            async with serve_apps([Served(app(script, handshakes=handshakes), port)]) as (port,):
                outcomes.append((await ask([builders.neuron(hotkey=HOTKEY, port=port)]))[0].outcome)
        return outcomes

    assert asyncio.run(scenario()) == [Outcome.ANSWERED, Outcome.ANSWERED]


def test_dead_miner_holds_its_port() -> None:
    async def scenario() -> None:
        async with serve_apps([Served(None)]) as (port,):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(DevnetError, match=f"port {port}"):
                async with serve_apps([Served(app(scripts([Behaviour.ECHO], BOOK)[0]), port)]):
                    pass

    asyncio.run(scenario())


def test_taken_port_is_named_and_nothing_is_left_open() -> None:
    async def scenario() -> None:
        script = scripts([Behaviour.ECHO], BOOK)[0]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(DevnetError, match=f"port {port}"):
                async with serve_apps([Served(app(script)), Served(app(script), port)]):
                    pass

    asyncio.run(scenario())


def test_error_of_the_block_passes_through_and_signals_are_untouched() -> None:
    handler = signal.getsignal(signal.SIGTERM)

    async def scenario() -> None:
        async with subnet([Behaviour.ECHO]):
            assert signal.getsignal(signal.SIGTERM) is handler
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(scenario())


def test_requests_cut_short_by_the_end_are_no_errors_of_the_app(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> tuple[Response, ...]:
        slow = scripts([Behaviour.SLOW], BOOK, delay_range_s=(0.0, 0.0), slow_s=30.0)[0]
        async with serve_apps([Served(app(slow))]) as (port,):
            asking = asyncio.create_task(ask([builders.neuron(hotkey=HOTKEY, port=port)]))
            await asyncio.sleep(0.3)
        return await asking

    assert asyncio.run(scenario())[0].outcome is Outcome.UNAVAILABLE
    assert "Exception in ASGI application" not in caplog.text

"""The stand-in of the Challenge API on a real socket, told by the validator's own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from loosh_pipeline.devnet.api_record import Batches, Record
from loosh_pipeline.devnet.challenge_api_app import create_challenge_api_app
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.domain import DeliveryKind
from loosh_pipeline.wire.batch import Evaluation, build_response_batch
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus, HttpChallengeApi
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, new_symmetric_key
from loosh_pipeline.wire.messages import build_api_key_exchange
from loosh_pipeline.wire.sessions import HandshakeServer
from tests import builders
from tests.wire.peers import STRANGER, VALIDATOR, rsa_key


def batch(challenge_id: str = "c-1", hotkey: str = VALIDATOR.ss58_address, *, score: float = 0.5) -> dict[str, Any]:
    responses = [builders.response()]
    return build_response_batch(builders.challenge(id=challenge_id), responses, Evaluation(score), hotkey)


def send(client: HttpChallengeApi, payload: dict[str, Any] | bytes) -> Delivery:
    body = payload if isinstance(payload, bytes) else encode_json(payload)
    return client.tell(DeliveryKind.RESPONSE_BATCH, body)


def api(**options: Any) -> Starlette:
    return create_challenge_api_app(handshakes=HandshakeServer(private_key=rsa_key()), **options)


def with_api(work: Callable[[HttpChallengeApi, str], Any], app: Starlette | None = None) -> Any:
    """Run blocking `work` against a served API."""

    async def scenario() -> Any:
        async with serve_apps([Served(app or api())]) as (port,):
            base_url = f"http://127.0.0.1:{port}"
            return await asyncio.to_thread(work, HttpChallengeApi(base_url, VALIDATOR), base_url)

    return asyncio.run(scenario())


def test_batch_arrives_once() -> None:
    def work(client: HttpChallengeApi, base_url: str) -> tuple[list[DeliveryStatus], Any]:
        statuses = [send(client, batch(name)).status for name in ("c-1", "c-2", "c-1")]
        assert httpx.get(f"{base_url}/record", trust_env=False).json()["repeated_batches"] == {"c-1": 1}
        return statuses, httpx.get(f"{base_url}/received", trust_env=False).json()

    statuses, received = with_api(work)
    assert statuses == [DeliveryStatus.DELIVERED, DeliveryStatus.DELIVERED, DeliveryStatus.ALREADY]
    assert [row["challenge_id"] for row in received] == ["c-1", "c-2"]
    assert received[0]["validator_hotkey"] == VALIDATOR.ss58_address
    assert received[0]["payload"] == batch("c-1")
    assert received[0]["received_at"].endswith("+00:00")


def test_a_batch_that_says_something_else_than_the_first_is_counted() -> None:
    def work(client: HttpChallengeApi, base_url: str) -> Any:
        for said in (batch(), batch(), batch(score=0.25)):
            send(client, said)
        return httpx.get(f"{base_url}/record", trust_env=False).json()

    record = with_api(work)
    assert record["repeated_batches"] == {"c-1": 2}
    assert record["contradicting_batches"] == {"c-1": 1}


def test_received_batches_are_bounded() -> None:
    def work(client: HttpChallengeApi, base_url: str) -> Any:
        for number in range(4):
            send(client, batch(f"c-{number}"))
        return httpx.get(f"{base_url}/received", trust_env=False).json()

    rows = with_api(work, api(record=Record(Batches(max_batches=2))))
    assert [row["challenge_id"] for row in rows] == ["c-2", "c-3"]


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ({}, "its fields must be challenge_id, responses"),
        (batch() | {"responses": None}, "responses and evaluation must not be null"),
        (batch(hotkey=STRANGER.ss58_address), "validator_hotkey"),
        (b"nonsense", "JSON"),
        (b"", "JSON"),
    ],
)
def test_wrong_batches_are_refused(payload: dict[str, Any] | bytes, detail: str) -> None:
    delivery: Delivery = with_api(lambda client, _: send(client, payload))
    assert delivery.status is DeliveryStatus.REFUSED
    assert detail in delivery.detail


def test_restarted_api_gets_a_new_session() -> None:
    async def scenario() -> list[DeliveryStatus]:
        statuses, port = [], 0
        unreachable = HttpChallengeApi("http://127.0.0.1:1", VALIDATOR)
        statuses.append((await asyncio.to_thread(send, unreachable, batch())).status)
        client: HttpChallengeApi | None = None
        for number in (0, 1):
            app = create_challenge_api_app(handshakes=HandshakeServer(private_key=rsa_key(number)))
            async with serve_apps([Served(app, port)]) as (port,):
                client = client or HttpChallengeApi(f"http://127.0.0.1:{port}", VALIDATOR)
                statuses.append((await asyncio.to_thread(send, client, batch())).status)
        return statuses

    expected = [DeliveryStatus.RETRY, DeliveryStatus.DELIVERED, DeliveryStatus.DELIVERED]
    assert asyncio.run(scenario()) == expected


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"signature": "00" * 64}, 400),
        ({"timestamp": 1733011200.5}, 400),
        ({"validator_hotkey_ss58": STRANGER.ss58_address}, 400),
        ({"signature": ""}, 422),
        ({"key_uuid": None}, 422),
    ],
)
def test_handshake_is_verified_strictly(changes: dict[str, Any], status: int) -> None:
    async def scenario() -> tuple[int, int]:
        transport = httpx.ASGITransport(api())
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            pem = (await http.get("/fiber/public-key")).json()["public_key"]
            ciphertext = encrypt_symmetric_key(load_public_key(pem), new_symmetric_key())
            body = build_api_key_exchange(VALIDATOR, "u-1", ciphertext, timestamp_s=time.time()) | changes
            first = await http.post("/fiber/key-exchange", json=body)
            return first.status_code, (await http.post("/fiber/key-exchange", json=body)).status_code

    first, replayed = asyncio.run(scenario())
    assert first == status
    assert replayed == (400 if status == 200 else status)


def test_nothing_is_taken_without_a_session_or_a_signature() -> None:
    async def scenario() -> list[int]:
        transport = httpx.ASGITransport(api())
        headers = {"symmetric-key-uuid": "u-1", "hotkey-ss58-address": VALIDATOR.ss58_address}
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            answers = [
                await http.post("/fiber/response/batch", content=b"x", headers=headers),
                await http.post("/fiber/response/batch", content=b"x"),
                await http.post("/response/batch", json=batch()),
            ]
            return [answer.status_code for answer in answers]

    assert asyncio.run(scenario()) == [401, 422, 422]

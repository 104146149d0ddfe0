"""What a sender is told of its challenge's place in the chain: signed, and as often as it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from ingress.main import create_app
from loosh_pipeline.audit.acceptances import Link, Told
from loosh_pipeline.audit.canonical import link_bytes
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import CryptoError
from loosh_pipeline.hotkeys import verify_signature
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.acceptances import first_broken_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.wire.crypto import seal
from loosh_pipeline.wire.headers import LINK_HEADER
from tests.ingress.conftest import HERE, KEY, Serve, body_of, exchange_body, keep_key, keep_wallet, post, signed
from tests.wire.peers import STRANGER, VALIDATOR

Push = Callable[[TestClient, str], Any]


def plainly(client: TestClient, name: str) -> Any:
    return post(client, body := body_of(name), signed(body))


def encrypted(client: TestClient, name: str) -> Any:
    client.post("/fiber/key-exchange", json=exchange_body(client, key_uuid=name)).raise_for_status()
    headers = {"symmetric-key-uuid": name, "hotkey-ss58-address": VALIDATOR.ss58_address}
    return client.post("/fiber/challenge", content=seal(KEY, body_of(name)), headers=headers)


@pytest.fixture(params=[plainly, encrypted])
def push(request: pytest.FixtureRequest) -> Push:
    found: Push = request.param
    return found


def is_signed(told: Told, challenge_id: str, hotkey: str = VALIDATOR.ss58_address) -> bool:
    message = link_bytes(ChallengeId(challenge_id), told.link.seq, told.link.digest)
    try:
        verify_signature(message, bytes.fromhex(told.signature), hotkey)
    except CryptoError:
        return False
    return True


def links_of(settings: Settings) -> dict[str, Link | None]:
    inbox = Inbox.open(settings.inbox_url)
    assert first_broken_of(inbox.engine, requests=True).whole
    found = {str(row.id): row.link for row in inbox.recent(100)}
    inbox.engine.dispose()
    return found


@pytest.fixture
def client(serve: Serve, own_home: Path) -> TestClient:
    keep_key(own_home)
    return serve(intake_hotkeys=(VALIDATOR.ss58_address,), wallet_path=own_home / "wallets")


def test_each_is_told_its_own_link_signed_by_this_validator(client: TestClient, push: Push, settings: Settings) -> None:
    answers = {f"c-{n}": push(client, f"c-{n}") for n in range(3)}
    assert {each.status_code for each in answers.values()} == {201}
    told = {name: Told.read(each.headers[LINK_HEADER]) for name, each in answers.items()}
    assert {name: each.link for name, each in told.items()} == links_of(settings)
    assert all(is_signed(each, name) for name, each in told.items())
    assert not is_signed(told["c-0"], "c-1"), "of another challenge"
    assert not is_signed(told["c-0"], "c-0", STRANGER.ss58_address)
    assert not is_signed(Told(told["c-1"].link, told["c-0"].signature), "c-0")


def test_who_heard_no_answer_is_told_it_again(client: TestClient, push: Push) -> None:
    first = push(client, "c-1").headers[LINK_HEADER]
    plainly(client, "c-2")
    again = push(client, "c-1")
    assert again.status_code == 409
    told = Told.read(again.headers[LINK_HEADER])
    assert told.link == Told.read(first).link
    assert is_signed(told, "c-1")


def test_a_challenge_of_before_the_chain_has_none(client: TestClient, settings: Settings) -> None:
    plainly(client, "c-1")
    inbox = Inbox.open(settings.inbox_url)
    with inbox.engine.begin() as connection:
        connection.execute(update(challenges).values(seq=None, link=None))
    inbox.engine.dispose()
    again = plainly(client, "c-1")
    assert (again.status_code, LINK_HEADER in again.headers) == (409, False)


@pytest.mark.parametrize("wallet", ["none", "an address alone"])
def test_without_a_hotkey_links_are_not_signed(serve: Serve, own_home: Path, settings: Settings, wallet: str) -> None:
    if wallet != "none":
        keep_wallet(own_home)
    client = serve(HERE, wallet_path=own_home / "wallets")
    for status in (201, 409):
        answer = client.post("/challenges", json={"id": "c-1", "prompt": "hi"})
        assert (answer.status_code, answer.headers[LINK_HEADER]) == (status, str(links_of(settings)["c-1"]))


def test_many_at_once_are_told_one_chain(serve: Serve, settings: Settings) -> None:
    async def push(app: Any) -> list[httpx.Response]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, client=HERE)
            async with httpx.AsyncClient(transport=transport, base_url="http://validator") as client:
                bodies = [{"id": f"c-{n % 40}", "prompt": "hi"} for n in range(60)]
                return list(await asyncio.gather(*(client.post("/challenges", json=body) for body in bodies)))

    answers = asyncio.run(push(create_app(settings)))
    told = [Told.read(each.headers[LINK_HEADER]).link for each in answers]
    assert sorted(link.seq for link, each in zip(told, answers, strict=True) if each.status_code == 201) == [
        *range(1, 41)
    ]
    assert set(told) == set(links_of(settings).values())

"""Every switch of the devnet's miners over real sockets: what the validator records of it, and what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.behaviours import Behaviour, scripts
from loosh_pipeline.devnet.chain import ChainConfig
from loosh_pipeline.devnet.faults import Fault, faults_named
from loosh_pipeline.devnet.miner_app import create_miner_app
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.devnet.subnet import DevnetConfig, DevnetInfo, devnet_config, serve_subnet
from loosh_pipeline.domain import Hotkey, Neuron, Outcome, Response
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.settings import Settings
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.availability import Availability, probe_miners
from loosh_pipeline.wire.miner_client import ask_miners
from loosh_pipeline.wire.sessions import HandshakeServer
from tests import builders
from tests.wire.peers import VALIDATOR, rsa_key

PROMPT = "Why is the sky blue?"
BOOK = AnswerBook.of_rows([(PROMPT, "atlas", "Scattering.")])
HERE = AddressRules(allow_private=True)
MAX_BYTES = 1_000_000
TIMEOUT_S = 1.0

ONCE = ["public-key", "key-exchange", "challenge"]
TWICE = ONCE * 2
INLINE = [*ONCE, "key-exchange", "challenge"]

CASES: dict[Fault, tuple[Outcome, str, Sequence[str]]] = {
    Fault.SLOW: (Outcome.ANSWERED, "", ONCE),
    Fault.HANG: (Outcome.TIMEOUT, "nothing within 1 s", ONCE),
    Fault.LOADING: (Outcome.UNAVAILABLE, "Model is loading", ONCE),
    Fault.FORBIDDEN: (Outcome.REFUSED, "active list", ONCE),
    Fault.RATE_LIMITED: (Outcome.RATE_LIMITED, "retry after 30", ONCE),
    Fault.UNKNOWN_KEY: (Outcome.HANDSHAKE_FAILED, "Re-handshake required", INLINE),
    Fault.UNDECRYPTED: (Outcome.HANDSHAKE_FAILED, "Failed to decrypt", TWICE),
    Fault.BAD_REQUEST: (Outcome.REFUSED, "Neither prompt nor messages", ONCE),
    Fault.GARBAGE: (Outcome.UNDECRYPTABLE, "token", TWICE),
    Fault.WRONG_KEY: (Outcome.UNDECRYPTABLE, "token", TWICE),
    Fault.STALE_TOKEN: (Outcome.UNDECRYPTABLE, "too old", TWICE),
    Fault.NO_TEXT: (Outcome.MALFORMED, "response_text", ONCE),
    Fault.NULL: (Outcome.MALFORMED, "null", ONCE),
    Fault.HUGE: (Outcome.TOO_LARGE, str(MAX_BYTES), ONCE),
    Fault.GZIP_BOMB: (Outcome.MALFORMED, "gzip", ONCE),
    Fault.REDIRECT: (Outcome.MALFORMED, "HTTP 307", ONCE),
    Fault.ODD_AVAILABILITY: (Outcome.ANSWERED, "", ONCE),
    Fault.CHALLENGE_DEAD: (Outcome.HANDSHAKE_FAILED, "HTTP 500", ["public-key"]),
    Fault.RESTART: (Outcome.ANSWERED, "", INLINE),
}


class Counted:
    """An app that remembers what it was asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"].removeprefix("/fiber/"))
        await self._app(scope, receive, send)


def miner(fault: Fault | None, hotkey: str = "hotkey-1") -> Counted:
    script = scripts([Behaviour.GOOD], BOOK, delay_range_s=(0.0, 0.0), slow_s=0.3)[0]
    handshakes = HandshakeServer(private_key=rsa_key())
    return Counted(create_miner_app(Hotkey(hotkey), replace(script, fault=fault), handshakes=handshakes))


async def ask(*neurons: Neuron) -> tuple[Response, ...]:
    return await ask_miners(
        neurons,
        builders.challenge(prompt=PROMPT),
        signer=VALIDATOR,
        timeout_s=TIMEOUT_S,
        max_response_bytes=MAX_BYTES,
        rules=HERE,
    )


@pytest.fixture(autouse=True)
def quick_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted miner makes a new RSA key, which is made once here."""
    renewed = lambda: HandshakeServer(private_key=rsa_key(1))  # noqa: E731
    monkeypatch.setattr("loosh_pipeline.devnet.miner_app.HandshakeServer", renewed)


def test_every_fault_is_tested() -> None:
    assert set(CASES) == set(Fault)


@pytest.mark.parametrize("fault", CASES)
def test_a_fault_costs_its_miner_alone_and_little(fault: Fault) -> None:
    faulty, good = miner(fault), miner(None, "hotkey-2")

    async def scenario() -> tuple[tuple[Response, ...], float]:
        async with serve_apps([Served(faulty), Served(good)]) as (port, fine):
            started_s = time.perf_counter()
            neurons = (builders.neuron(1, port=port), builders.neuron(2, port=fine))
            return await ask(*neurons), time.perf_counter() - started_s

    (response, other), took_s = asyncio.run(scenario())
    outcome, detail, paths = CASES[fault]
    assert (response.outcome, faulty.paths) == (outcome, list(paths)), response.detail
    assert detail in response.detail
    assert (other.outcome, other.text) == (Outcome.ANSWERED, "Scattering.")
    assert other.elapsed_ms is not None
    assert other.elapsed_ms < 900 * TIMEOUT_S
    assert took_s < TIMEOUT_S + 2
    if fault is Fault.SLOW:
        assert (response.elapsed_ms or 0) >= 300


def test_a_good_miner_is_asked_once() -> None:
    good = miner(None)

    async def scenario() -> tuple[Response, ...]:
        async with serve_apps([Served(good)]) as (port,):
            return await ask(builders.neuron(port=port))

    assert asyncio.run(scenario())[0].outcome is Outcome.ANSWERED
    assert good.paths == ONCE


async def probe(port: int, timeout_s: float = TIMEOUT_S) -> Availability:
    (found,) = await probe_miners([builders.neuron(port=port)], VALIDATOR.ss58_address, rules=HERE, timeout_s=timeout_s)
    return found


def test_w_15_availability_says_nothing_about_challenges() -> None:
    async def scenario(fault: Fault) -> tuple[Availability, Response]:
        async with serve_apps([Served(miner(fault))]) as (port,):
            return await probe(port), (await ask(builders.neuron(port=port)))[0]

    available, response = asyncio.run(scenario(Fault.CHALLENGE_DEAD))
    assert (available.available, available.reason, response.outcome) == (True, "", Outcome.HANDSHAKE_FAILED)
    available, response = asyncio.run(scenario(Fault.ODD_AVAILABILITY))
    assert (available.available, response.outcome) == (False, Outcome.ANSWERED)
    assert "not valid JSON" in available.reason


def test_identical_answers_of_several_hotkeys_are_all_recorded() -> None:
    parts = scripts([Behaviour.COPY_RING] * 3, BOOK, delay_range_s=(0.0, 0.0))

    async def scenario() -> tuple[Response, ...]:
        apps = [
            create_miner_app(Hotkey(f"hotkey-{uid}"), part, handshakes=HandshakeServer(private_key=rsa_key()))
            for uid, part in enumerate(parts)
        ]
        async with serve_apps([Served(app) for app in apps]) as ports:
            return await ask(*(builders.neuron(uid, port=port) for uid, port in enumerate(ports)))

    responses = asyncio.run(scenario())
    assert {one.text for one in responses} == {"Scattering."}
    assert {one.hotkey for one in responses} == {"hotkey-0", "hotkey-1", "hotkey-2"}


def test_w_6_a_hotkey_does_not_live_on_the_address_of_another() -> None:
    own = miner(None, "hotkey-1")

    async def scenario() -> tuple[Response, ...]:
        async with serve_apps([Served(own)]) as (port,):
            return await ask(builders.neuron(1, port=port), builders.neuron(2, port=port))

    first, second = asyncio.run(scenario())
    assert first.outcome is Outcome.ANSWERED
    assert (second.outcome, second.text) == (Outcome.HANDSHAKE_FAILED, "")


def test_a_miner_on_ipv6() -> None:
    async def scenario() -> tuple[Response, Availability]:
        async with serve_apps([Served(miner(None), host="::1")]) as (port,):
            neuron = builders.neuron(ip="::1", port=port)
            (found,) = await probe_miners([neuron], VALIDATOR.ss58_address, rules=HERE)
            return (await ask(neuron))[0], found

    response, found = asyncio.run(scenario())
    assert (response.outcome, found.available) == (Outcome.ANSWERED, True)


def test_names_of_faults() -> None:
    assert faults_named(["hang", "null"]) == (Fault.HANG, Fault.NULL)
    with pytest.raises(DevnetError, match="no fault 'odd'; there are slow, hang, loading"):
        faults_named(["null", "odd"])


@contextlib.asynccontextmanager
async def subnet(tmp_path: Any) -> AsyncIterator[DevnetInfo]:
    config = DevnetConfig(
        wallet_path=tmp_path, chain=ChainConfig(block_time_s=60), miners=2, faults=(Fault.LOADING, Fault.NULL)
    )
    async with serve_subnet(config) as info:
        yield info


def test_a_devnet_with_faults_has_a_miner_for_each(tmp_path: Any) -> None:
    async def scenario() -> tuple[DevnetInfo, tuple[Response, ...]]:
        async with subnet(tmp_path) as info:
            neurons = [builders.neuron(one.uid, hotkey=one.hotkey, port=one.port) for one in info.miners[2:]]
            return info, await ask(*neurons)

    info, responses = asyncio.run(scenario())
    assert [(one.behaviour, one.fault) for one in info.miners] == [
        (Behaviour.GOOD, None),
        (Behaviour.GOOD, None),
        (Behaviour.GOOD, Fault.LOADING),
        (Behaviour.GOOD, Fault.NULL),
    ]
    assert [one.outcome for one in responses] == [Outcome.UNAVAILABLE, Outcome.MALFORMED]
    assert DevnetInfo.from_json(info.to_json()) == info


def test_all_miners_may_behave_alike(tmp_path: Any) -> None:
    settings = Settings(_env_file=None, loosh_home=tmp_path)
    options = {"miners": 3, "behaviour": Behaviour.STEADY, "delay_range_s": (0.0, 0.0)}
    config = devnet_config(settings, {"block_time_s": 60}, (), (), **options)

    async def scenario() -> tuple[Response, ...]:
        async with serve_subnet(config) as info:
            return await ask(*(builders.neuron(one.uid, hotkey=one.hotkey, port=one.port) for one in info.miners))

    answers = asyncio.run(scenario())
    assert [one.outcome for one in answers] == [Outcome.ANSWERED] * 3
    assert len({one.text for one in answers}) == 3

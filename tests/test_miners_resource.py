"""Real miners over loopback and the own database: what is kept between challenges, and what is not risked."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import OperationalError

from loosh_pipeline.domain import Neuron, Outcome
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.sessions import MinerSessions
from loosh_pipeline.wire.sessions import HandshakeServer
from resources.miners import WireMiners
from resources.store import Store
from tests import builders
from tests.wire.peers import VALIDATOR, Asked, HostileMiner, good, http, http_json, listening, rsa_key

HANDSHAKE = ["public-key", "key-exchange"]


@pytest.fixture(autouse=True)
def devnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOW_PRIVATE_ADDRESSES", "true")
    monkeypatch.setenv("CHALLENGE_TIMEOUT_S", "5")
    get_settings.cache_clear()


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(get_settings())
    yield store
    store.close()


@contextmanager
def serving(miner: HostileMiner) -> Iterator[int]:
    """Serve it beside this thread, as `WireMiners` runs an event loop of its own."""
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    ports: list[int] = []

    async def serve() -> None:
        async with listening(miner.serve) as port:
            ports.append(port)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(5)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()


def outcome(store: Store, port: int, hotkey: str = "hotkey-1", settings: Settings | None = None) -> Outcome:
    neuron = builders.neuron(port=port, hotkey=hotkey)
    (response,) = WireMiners(settings or get_settings(), store).ask([neuron], builders.challenge(), VALIDATOR)
    return response.outcome


def test_the_second_challenge_and_a_restart_cost_no_handshake(store: Store) -> None:
    miner = HostileMiner()
    with serving(miner) as port:
        assert outcome(store, port) is Outcome.ANSWERED
        assert outcome(store, port) is Outcome.ANSWERED
        again = Store(get_settings())
        assert outcome(again, port) is Outcome.ANSWERED
        again.close()
    assert miner.paths == [*HANDSHAKE, "challenge", "challenge", "challenge"]


def test_w_6_two_hotkeys_at_one_address_share_no_session(store: Store) -> None:
    miner = HostileMiner()
    with serving(miner) as port:
        outcome(store, port, "hotkey-1")
        outcome(store, port, "hotkey-2")
    assert miner.paths == [*HANDSHAKE, "challenge"] * 2


def test_a_restarted_miner_costs_one_handshake_and_is_then_known(store: Store) -> None:
    miner = HostileMiner()

    def restarted(asked: Asked) -> bytes:
        asked.miner.handshakes = HandshakeServer(private_key=rsa_key(1))
        pem = asked.miner.handshakes.public_pem
        return http_json(401, {"detail": "unknown", "public_key": pem, "requires_handshake": True})

    miner.challenge = [good, restarted, good, good]
    with serving(miner) as port:
        assert [outcome(store, port) for _ in range(3)] == [Outcome.ANSWERED] * 3
    assert miner.paths == [*HANDSHAKE, "challenge", "challenge", "key-exchange", "challenge", "challenge"]


@pytest.mark.parametrize(
    ("refusal", "result", "asked"),
    [
        (http_json(401, {"detail": "no"}), Outcome.HANDSHAKE_FAILED, 2),
        (http_json(400, {"detail": "no"}), Outcome.REFUSED, 2),
        (http(200, b"garbage"), Outcome.UNDECRYPTABLE, 2),
        (http_json(400, {"detail": "Neither prompt nor messages provided"}), Outcome.REFUSED, 1),
        (http_json(403, {"detail": "no"}), Outcome.REFUSED, 1),
    ],
)
def test_w_12_a_kept_session_that_is_refused_is_renewed_once(
    store: Store, refusal: bytes, result: Outcome, asked: int
) -> None:
    miner = HostileMiner([good, lambda _: refusal])
    with serving(miner) as port:
        outcome(store, port)
        miner.paths.clear()
        miner.challenge = [lambda _: refusal]
        assert outcome(store, port) is result
    assert miner.paths == (["challenge", *HANDSHAKE, "challenge"] if asked == 2 else ["challenge"])


def broken(*_: object) -> None:
    raise OperationalError("UPDATE", {}, Exception("database is locked"))


@pytest.mark.parametrize("method", ["load", "save"])
def test_w_11_a_locked_database_loses_no_answer(
    store: Store, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(MinerSessions, method, broken)
    with serving(HostileMiner()) as port:
        assert outcome(store, port) is Outcome.ANSWERED
    assert "database is locked" in caplog.text


def watching(monkeypatch: pytest.MonkeyPatch, seen: list[str], method: str) -> None:
    proper: Callable[..., object] = getattr(MinerSessions, method)

    def watched(self: MinerSessions, *args: object) -> object:
        seen.append(method)
        return proper(self, *args)

    monkeypatch.setattr(MinerSessions, method, watched)


def test_w_9_nothing_is_read_written_or_tidied_while_miners_are_timed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    watching(monkeypatch, seen, "load")
    watching(monkeypatch, seen, "save")

    def answer(asked: Asked) -> bytes:
        seen.append("asked, collecting garbage" if gc.isenabled() else "asked")
        return good(asked)

    with serving(HostileMiner([answer])) as port:
        outcome(store, port)
    assert seen == ["load", "asked", "save"]
    assert gc.isenabled()


def test_a_miner_without_an_address_does_not_keep_others_from_being_asked(store: Store) -> None:
    with serving(HostileMiner()) as port:
        neurons = [builders.neuron(1, ip=None, port=0), builders.neuron(2, port=port)]
        responses = WireMiners(get_settings(), store).ask(neurons, builders.challenge(), VALIDATOR)
    assert [one.outcome for one in responses] == [Outcome.BAD_ADDRESS, Outcome.ANSWERED]


def test_w_7_the_validators_own_ports_are_not_asked(store: Store) -> None:
    miner = HostileMiner()
    with serving(miner) as port:
        for name in ("api_port", "dagster_port", "code_server_port", "embedder_port"):
            settings = get_settings().model_copy(update={name: port})
            assert outcome(store, port, settings=settings) is Outcome.BAD_ADDRESS
            (found,) = WireMiners(settings, store).probe([builders.neuron(port=port)], VALIDATOR)
            assert (found.available, "own" in found.reason) == (False, True)
    assert miner.paths == []


def own_neuron(**fields: object) -> Neuron:
    return builders.neuron(0, hotkey=VALIDATOR.ss58_address, validator_permit=True, **fields)


def test_w_7_the_address_that_the_chain_has_of_this_validator_is_not_asked(store: Store) -> None:
    subnet = builders.metagraph((own_neuron(ip="100.40.6.206"),), taken_at=datetime.now(UTC))
    store.save_metagraph(subnet)
    (response,) = WireMiners(get_settings(), store).ask(
        [builders.neuron(ip="100.40.6.206", port=8091)], builders.challenge(), VALIDATOR
    )
    assert (response.outcome, "own" in response.detail) == (Outcome.BAD_ADDRESS, True)
    nowhere = replace(subnet, neurons=(own_neuron(ip="0", port=0),), taken_at=datetime.now(UTC))
    store.save_metagraph(nowhere)
    with serving(HostileMiner()) as port:
        assert outcome(store, port) is Outcome.ANSWERED

"""Looking for miners over loopback sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from loosh_pipeline.domain import Availability, Neuron
from loosh_pipeline.wire import availability
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.availability import AT_ONCE, probe_miners
from tests import builders
from tests.wire.peers import http, http_json, listening

HERE = AddressRules(allow_private=True)


def probe(answer: bytes, seen: list[bytes] | None = None) -> Availability:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async def scenario() -> Availability:
        async with listening(serve) as port:
            (found,) = await look([builders.neuron(port=port)])
            return found

    return asyncio.run(scenario())


async def look(neurons: Sequence[Neuron], timeout_s: float = 2.0) -> tuple[Availability, ...]:
    return await probe_miners(neurons, "5Validator", rules=HERE, timeout_s=timeout_s)


@pytest.mark.parametrize("said", [1, "yes", "true", 0.5, [0], {"a": 0}])
def test_what_the_network_takes_for_a_yes_is_one(said: object) -> None:
    assert probe(http_json(200, {"available": said})).available


def test_an_available_miner() -> None:
    seen: list[bytes] = []
    found = probe(http_json(200, {"available": True}), seen)
    assert (found.available, found.reason, found.hotkey, found.ip) == (True, "", "hotkey-1", "127.0.0.1")
    assert found.latency_ms is not None
    (head,) = seen
    assert head.startswith(b"GET /availability HTTP/1.1\r\n")
    assert b"\r\nvalidator-hotkey: 5Validator\r\n" in head


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http_json(200, {"available": False, "reason": "Miner initializing"}), "Miner initializing"),
        (http_json(200, {"available": False}), "without a reason"),
        (http_json(200, {"available": ""}), "without a reason"),
        (http_json(200, {"available": 0}), "without a reason"),
        (http_json(200, {"available": None}), "without a reason"),
        (http_json(200, {}), "without a reason"),
        (http_json(200, {"available": False, "reason": "a\nb\x1b[31m"}), "it says it is not: a�b�[31m"),
        (http_json(200, {"available": False, "reason": 3}), "reason must be a string"),
        (http_json(503, {"available": False, "error": "x"}), "HTTP 503"),
        (http_json(201, {"available": True}), "HTTP 201"),
        (http(302, location="http://169.254.169.254/"), "HTTP 302"),
        (http(200, b"up"), "not valid JSON"),
        (http(200, b"[" * 60_000), "not valid JSON"),
        (http_json(200, [True]), "not a JSON object"),
        (http(200, b"\xff\xfe"), "not valid JSON"),
        (http(200, b'{"available": true, "x": "' + b"x" * 70_000 + b'"}'), "longer than 65536"),
        (http(200, b"x", content_encoding="gzip"), "gzip"),
        (b"garbage\r\n\r\n", "connection lost"),
    ],
)
def test_whoever_does_not_say_so_is_not_available(answer: bytes, reason: str) -> None:
    found = probe(answer)
    assert not found.available
    assert reason in found.reason
    assert len(found.reason) <= 161


def test_all_are_looked_for_some_at_a_time_and_none_for_long() -> None:
    at_once = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.05)
            writer.write(http_json(200, {"available": True}))
            await reader.read()
        finally:
            at_once -= 1

    async def scenario() -> tuple[tuple[Availability, ...], float]:
        async with listening(serve) as port:
            neurons = [builders.neuron(uid, port=port) for uid in range(1, 2 * AT_ONCE + 3)]
            started_s = time.perf_counter()
            return await look(neurons), time.perf_counter() - started_s

    found, took_s = asyncio.run(scenario())
    assert [one.uid for one in found] == list(range(1, 2 * AT_ONCE + 3))
    assert all(one.available for one in found)
    assert most <= AT_ONCE
    assert took_s >= 0.15


def test_w_28_who_hangs_is_left_behind() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def scenario() -> tuple[Availability, ...]:
        async with listening(hang) as port, listening(hang) as closed:
            pass
        async with listening(hang) as port:
            return await look([builders.neuron(1, port=port), builders.neuron(2, port=closed)], timeout_s=0.2)

    hanging, gone = asyncio.run(scenario())
    assert (hanging.reason, hanging.latency_ms) == ("nothing within 0.2 s", None)
    assert gone.reason == "no connection: Connection refused", "without the address, which is in its own column"


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "224.0.0.1", "nowhere"])
def test_w_7_addresses_that_may_not_be_asked_are_not_probed_either(ip: str) -> None:
    (found,) = asyncio.run(probe_miners([builders.neuron(ip=ip)], "5V", rules=AddressRules()))
    assert (found.available, "address" in found.reason) == (False, True)


def test_what_nobody_foresaw_fails_its_miner_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def surprised(reply: object) -> str:
        raise LookupError("a surprise")

    monkeypatch.setattr(availability, "_refusal", surprised)
    assert probe(http_json(200, {"available": True})).reason == "unexpected LookupError: a surprise"
    assert "hotkey-1" in caplog.text

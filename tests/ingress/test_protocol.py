"""Connections that say too much, or never say it to the end, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from ingress import protocol
from ingress.protocol import BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with an event for when it serves."""

    def install_signal_handlers(self) -> None:
        return

    async def serving(self) -> int:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup()
        return int(self.servers[0].sockets[0].getsockname()[1])


class Peer:
    """Whom connections seem to come from, and how many came."""

    address = "203.0.113.9"
    seen = 0

    def __call__(self, _host: str) -> tuple[str, bool]:
        self.seen += 1
        return self.address, self.address == "127.0.0.1"


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]


def served(peer: Peer, scenario: Callable[[Connect], Awaitable[None]], app: Any = _hello) -> None:
    """Run a scenario that opens connections to a server of its own."""

    async def run() -> None:
        config = uvicorn.Config(app, port=0, http=BoundedProtocol, ws="none", lifespan="off", log_level="critical")
        server = Server(config)
        port = await server.serving()
        opened: list[Connection] = []

        async def connect() -> Connection:
            before = peer.seen
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            while peer.seen == before:
                await asyncio.sleep(0)
            return opened[-1]

        try:
            await scenario(connect)
        finally:
            for _, writer in opened:
                writer.close()
            await server.shutdown()

    asyncio.run(run())


async def answers(connection: Connection) -> bool:
    """Whether a request on this connection is answered; False when it was closed."""
    reader, writer = connection
    try:
        writer.write(REQUEST + b"\r\n")
        return b"200 OK" in await asyncio.wait_for(reader.read(1000), 5.0)
    except ConnectionError:
        return False


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    peer = Peer()
    monkeypatch.setattr(protocol, "peer_of", peer)
    return peer


def test_w_18_idle_connections_of_one_address_are_bounded(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_OF_ONE_ADDRESS", 3)

    async def scenario(connect: Connect) -> None:
        crowd = [await connect() for _ in range(6)]
        peer.address = "198.51.100.1"
        assert await answers(await connect())
        assert [await answers(each) for each in crowd] == [True] * 3 + [False] * 3
        peer.address = "203.0.113.9"
        crowd[0][1].close()
        await crowd[0][1].wait_closed()
        await asyncio.sleep(0.01)
        assert await answers(await connect()), "what was closed is not counted"

    served(peer, scenario)


def test_w_18_at_the_bound_of_all_the_crowd_gives_way_and_not_who_comes(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 4)

    async def scenario(connect: Connect) -> None:
        peer.address = "198.51.100.1"
        honest = await connect()
        peer.address = "203.0.113.9"
        crowd = [await connect() for _ in range(6)]
        peer.address = "198.51.100.2"
        newcomer = await connect()
        assert await answers(honest)
        assert await answers(newcomer)
        assert [await answers(each) for each in crowd] == [False] * 4 + [True] * 2

    served(peer, scenario)


def test_connections_of_this_machine_are_not_bounded_by_address(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_OF_ONE_ADDRESS", 1)
    peer.address = "127.0.0.1"

    async def scenario(connect: Connect) -> None:
        assert [await answers(each) for each in [await connect() for _ in range(3)]] == [True] * 3

    served(peer, scenario)


def test_w_18_who_says_nothing_has_less_time(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FIRST_BYTE_WITHIN_S", 0.05)
    monkeypatch.setattr(protocol, "LOOK_EVERY_S", 0.02)

    async def scenario(connect: Connect) -> None:
        begun, silent = await connect(), await connect()
        begun[1].write(REQUEST)
        assert await asyncio.wait_for(silent[0].read(), 5.0) == b""
        begun[1].write(b"\r\n")
        assert b"200 OK" in await asyncio.wait_for(begun[0].read(1000), 5.0)

    served(peer, scenario)


def test_w_18_an_answer_that_nobody_reads_ends_its_connection(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "ANSWER_WITHIN_S", 0.05)
    monkeypatch.setattr(protocol, "LOOK_EVERY_S", 0.02)
    ended = asyncio.Event()

    async def endless(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        ended.set()

    async def scenario(connect: Connect) -> None:
        _, writer = await connect()
        writer.write(REQUEST + b"\r\n")
        await asyncio.wait_for(ended.wait(), 5.0)

    served(peer, scenario, endless)


def talk(*parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send parts over one connection; everything that is answered until the server closes it."""

    async def scenario() -> bytes:
        config = uvicorn.Config(_hello, port=0, http=BoundedProtocol, ws="none", lifespan="off", log_level="critical")
        server = Server(config)
        port = await server.serving()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause_s)
            return await asyncio.wait_for(reader.read(), 5.0)
        finally:
            writer.close()
            await server.shutdown()

    return asyncio.run(scenario())


def test_requests_are_served_and_connections_kept() -> None:
    last = REQUEST + b"Connection: close\r\n\r\n"
    assert talk(REQUEST + b"\r\n", last, pause_s=0.05).count(b"200 OK") == 2


@pytest.mark.parametrize("head", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a"])
def test_w_18_an_endless_head_ends_its_connection(head: bytes) -> None:
    assert b"200 OK" not in talk(REQUEST, head * (70_000 // len(head)))


@pytest.mark.parametrize(
    "beginning", [b"", b"GET / HT", REQUEST, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_w_18_a_request_that_never_ends_ends_its_connection(beginning: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_WITHIN_S", 0.05)
    monkeypatch.setattr(protocol, "LOOK_EVERY_S", 0.02)
    assert talk(beginning) == b""

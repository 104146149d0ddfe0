"""Connections that say too much, or never say it to the end, on a real socket."""

from __future__ import annotations

import asyncio
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

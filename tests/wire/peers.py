"""Keys, and a miner that speaks HTTP by hand so that it can misbehave at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bittensor_core import Keypair

from loosh_pipeline.wire.crypto import generate_private_key, seal
from loosh_pipeline.wire.messages import parse_miner_key_exchange
from loosh_pipeline.wire.sessions import HandshakeServer

VALIDATOR = Keypair.from_seed(b"\x01" * 32)
STRANGER = Keypair.from_seed(b"\x02" * 32)


@cache
def rsa_key(number: int = 0) -> Any:
    """One RSA key a number, made once: making one takes a tenth of a second."""
    return generate_private_key()


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole HTTP response; underscores in header names become hyphens."""
    fields = {"content-length": str(len(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + body


def http_json(status: int, value: Any, **headers: str) -> bytes:
    return http(status, json.dumps(value).encode(), **headers)


@dataclass
class Asked:
    """One challenge request as the hostile miner sees it."""

    miner: HostileMiner
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> bytes:
        key = self.miner.handshakes.session_key(
            self.headers["x-fiber-validator-hotkey-ss58"], self.headers["x-fiber-symmetric-key-uuid"]
        )
        assert key is not None
        return key

    def answer(self, plaintext: bytes, **headers: str) -> bytes:
        return http(200, seal(self.key, plaintext), **headers)


Scripted = Callable[[Asked], Awaitable[bytes] | bytes]


def good(asked: Asked) -> bytes:
    return asked.answer(b'{"response_text": "fine"}')


@dataclass
class HostileMiner:
    """Shakes hands properly unless told otherwise, then answers the nth challenge by the nth script."""

    challenge: list[Scripted] = field(default_factory=lambda: [good])
    public_key: bytes | None = None
    key_exchange: bytes | None = None
    handshakes: HandshakeServer = field(default_factory=lambda: HandshakeServer(private_key=rsa_key()))
    paths: list[str] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path, headers, body = await _read_request(reader)
            self.paths.append(path.removeprefix("/fiber/"))
            writer.write(await self._reply(path, headers, body))
            await writer.drain()

    async def _reply(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if path == "/fiber/public-key":
            return self.public_key or http_json(200, {"public_key": self.handshakes.public_pem})
        if path == "/fiber/key-exchange":
            self.exchanges.append(json.loads(body))
            return self.key_exchange or self._accept(body)
        asked = self.paths.count("challenge")
        reply = self.challenge[min(asked, len(self.challenge)) - 1](Asked(self, headers, body))
        return reply if isinstance(reply, bytes) else await reply

    def _accept(self, body: bytes) -> bytes:
        self.handshakes.open_session(parse_miner_key_exchange(body))
        return http_json(200, {"success": True})


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve each connection until the peer ends it or the block ends; yields the port."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(connected, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)
        await asyncio.sleep(0)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    path = head[0].split(" ")[1]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    return path, headers, await reader.readexactly(int(headers.get("content-length", 0)))

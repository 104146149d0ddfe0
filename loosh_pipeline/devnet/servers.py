"""Many small HTTP servers on loopback in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from loosh_pipeline.devnet.http import refusal
from loosh_pipeline.errors import DevnetError

HOST = "127.0.0.1"

_SHUTDOWN_S = 1


@dataclass(frozen=True, slots=True)
class Served:
    """An app and the port it wants; 0 lets the system choose.

    Without an app the port is held but refuses connections: nobody else can take a dead miner's place.
    """

    app: ASGIApp | None
    port: int = 0
    host: str = HOST


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its host and waits instead of polling."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            _ending_politely(app),
            access_log=False,
            lifespan="off",
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=_SHUTDOWN_S,
            ws="none",
        )
        super().__init__(config)
        self.ready = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not self.stopping.is_set():
            await self.on_tick(0)  # sets the Date of answers
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 1.0)


def _ending_politely(app: ASGIApp) -> ASGIApp:
    """`app`, answering 503 to a request that the end of the server cuts short: it is no error of the app."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            await refusal(503, "Server is shutting down")(scope, receive, send)

    return wrapped


@contextlib.asynccontextmanager
async def serve_apps(served: Sequence[Served]) -> AsyncIterator[tuple[int, ...]]:
    """Serve all until the block ends; yields the bound ports in the given order.

    Installs no signal handlers. Requests under way at the end get a second to finish. Raises DevnetError
    when a port is taken.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(contextlib.closing(_bind(one))) for one in served]
        ports = tuple(sock.getsockname()[1] for sock in sockets)
        pairs = [(_Server(one.app), sock) for one, sock in zip(served, sockets, strict=True) if one.app]
        servers = [server for server, _ in pairs]
        running = [asyncio.create_task(server.serve([sock])) for server, sock in pairs]
        try:
            await _all_ready(servers, running)
            yield ports
        finally:
            for server in servers:
                server.stopping.set()
            await asyncio.gather(*running)


async def _all_ready(servers: Sequence[_Server], running: Sequence[asyncio.Task[None]]) -> None:
    starting = asyncio.gather(*(server.ready.wait() for server in servers))
    awaited: set[asyncio.Future[Any]] = {starting, *running}
    done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    if starting not in done:
        starting.cancel()
        raise DevnetError("a server ended while it was starting; its own error is in the log")


def _bind(one: Served) -> socket.socket:
    """A listening socket, or for a dead miner a bound one: that alone keeps the port from others."""
    family = socket.AF_INET6 if ":" in one.host else socket.AF_INET
    # The protocol is named because asyncio sends small pieces at once only where it is: else answers are 40 ms late.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if one.app is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((one.host, one.port))
        if one.app is not None:
            sock.listen()
    except OSError as error:
        sock.close()
        raise DevnetError(
            f"port {one.port} on {one.host} cannot be had: {error.strerror}; free it, or give another (0: any free one)"
        ) from error
    return sock

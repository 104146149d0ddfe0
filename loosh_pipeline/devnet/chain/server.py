"""The stand-in on a socket: WebSocket JSON-RPC, block clock and inspection page on one port."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from loosh_pipeline.devnet.chain.inspection import inspect_chain
from loosh_pipeline.devnet.chain.node import Block, DevnetChain
from loosh_pipeline.devnet.chain.rpc import answer
from loosh_pipeline.errors import DevnetError

log = logging.getLogger(__name__)
_connection_log = logging.getLogger(f"{__name__}.connections")
_connection_log.setLevel(logging.WARNING)  # a page view counts as a rejected handshake, which is no news

_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_UNSENT = 4096
"""Messages one connection may leave unread before it is closed: a slow reader must not fill memory."""


class ClientSession:
    """One connection. Responses and notifications leave through one queue, in the order they were made."""

    def __init__(self, chain: DevnetChain, connection: ServerConnection) -> None:
        self._chain = chain
        self._connection = connection
        self._unsent: asyncio.Queue[str] = asyncio.Queue(_MAX_UNSENT)
        self._ids = itertools.count(1)
        self._heads: dict[str, str] = {}
        self._watched: dict[str, str] = {}

    def subscribe_heads(self, notification: str) -> str:
        subscription = f"heads-{next(self._ids)}"
        self._heads[subscription] = notification
        return subscription

    def watch(self, raw: bytes) -> str:
        subscription = f"extrinsic-{next(self._ids)}"
        self._watched[subscription] = self._chain.submit(raw).hash
        return subscription

    def unsubscribe(self, subscription: str) -> bool:
        known = self._heads.pop(subscription, None) or self._watched.pop(subscription, None)
        return known is not None

    def new_block(self, block: Block) -> None:
        """Tell the subscriptions of this connection about a block."""
        for subscription, notification in self._heads.items():
            self._notify(notification, subscription, block.header())
        landed = [watch for watch, extrinsic in self._watched.items() if extrinsic in block.included]
        for subscription in landed:
            # One author and no forks: a block is final when it is made.
            self._notify("author_extrinsicUpdate", subscription, {"inBlock": block.hash})
            self._notify("author_extrinsicUpdate", subscription, {"finalized": block.hash})
            del self._watched[subscription]

    async def run(self) -> None:
        """Serve until the client leaves."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._connection:
                self._receive(message)
        except ConnectionClosed as closed:
            log.debug("client left without closing: %s", closed)
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

    def _receive(self, message: str | bytes) -> None:
        try:
            request = json.loads(message)
        except ValueError as error:
            self._send({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": f"Parse error: {error}"}})
            return
        watched_before = set(self._watched)
        if isinstance(request, list):
            self._send([answer(self._chain, self, part) for part in request])
        else:
            self._send(answer(self._chain, self, request))
        for subscription in self._watched.keys() - watched_before:
            self._notify("author_extrinsicUpdate", subscription, "ready")

    def _notify(self, method: str, subscription: str, result: Any) -> None:
        params = {"subscription": subscription, "result": result}
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def _send(self, message: Any) -> None:
        try:
            self._unsent.put_nowait(json.dumps(message))
        except asyncio.QueueFull:
            log.warning("closing a client that left %d messages unread", _MAX_UNSENT)
            self._connection.transport.abort()

    async def _write(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._connection.send(await self._unsent.get())


def _inspection_page(chain: DevnetChain, connection: ServerConnection, request: Request) -> Response | None:
    """Answer plain HTTP; None lets a WebSocket handshake go on."""
    if "Upgrade" in request.headers:
        return None
    if request.path != "/":
        return connection.respond(HTTPStatus.NOT_FOUND, f"no page {request.path}; the chain is shown at /\n")
    response = connection.respond(HTTPStatus.OK, json.dumps(inspect_chain(chain), indent=1) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response


async def _block_clock(chain: DevnetChain) -> None:
    try:
        while True:
            await asyncio.sleep(chain.config.block_time_s)
            chain.tick()
    except Exception:
        log.exception("the block clock stopped at block %d", chain.head.number)
        raise


@asynccontextmanager
async def serve_chain(chain: DevnetChain, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Serve the chain and run its block clock; yields the bound port (`port` 0 takes any free one).

    `ws://host:port` speaks JSON-RPC, `http://host:port/` shows the chain as JSON. Raises `DevnetError` when the
    port cannot be bound.
    """
    loop = asyncio.get_running_loop()
    sessions: set[ClientSession] = set()

    async def handle(connection: ServerConnection) -> None:
        session = ClientSession(chain, connection)
        sessions.add(session)
        try:
            await session.run()
        finally:
            sessions.discard(session)

    def tell(block: Block) -> None:
        for session in list(sessions):
            session.new_block(block)

    def tell_soon(block: Block) -> None:
        loop.call_soon_threadsafe(tell, block)  # blocks may be made in another thread

    try:
        server = await serve(
            handle,
            host,
            port,
            max_size=_MAX_MESSAGE_BYTES,
            logger=_connection_log,
            process_request=lambda connection, request: _inspection_page(chain, connection, request),
        )
    except OSError as error:
        raise DevnetError(f"cannot serve the chain on {host}:{port}: {error.strerror}; is it running?") from error
    stop_telling = chain.on_block(tell_soon)
    clock = asyncio.create_task(_block_clock(chain)) if chain.config.block_time_s else None
    try:
        async with server:
            yield server.sockets[0].getsockname()[1]
    finally:
        stop_telling()
        if clock is not None:
            clock.cancel()
            with suppress(asyncio.CancelledError):
                await clock

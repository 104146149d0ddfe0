"""The stand-in on a socket: WebSocket JSON-RPC, block clock, inspection page and switches on one port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from loosh_pipeline.devnet.chain.administration import DevnetChain
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.devnet.chain.ledger import Block
from loosh_pipeline.devnet.chain.pages import page
from loosh_pipeline.devnet.chain.rpc import RETRY_AFTER_S
from loosh_pipeline.devnet.chain.session import ClientSession
from loosh_pipeline.errors import DevnetError

log = logging.getLogger(__name__)
_connection_log = logging.getLogger(f"{__name__}.connections")
_connection_log.setLevel(logging.CRITICAL)  # a page view counts as a rejected handshake, and cuts are asked for

_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_CLOSE_TIMEOUT_S = 1.0


class _Door:
    """Who comes in, and what faults do to connections. Belongs to one event loop."""

    def __init__(self, chain: DevnetChain) -> None:
        self._chain = chain
        self._sessions: set[ClientSession] = set()
        self._thawed = asyncio.Event()
        self.apply_faults()

    def apply_faults(self) -> None:
        """Do to the open connections what the switches say now."""
        frozen = self._chain.faults.is_on(ChainFault.FREEZE)
        if frozen:
            self._thawed.clear()
        else:
            self._thawed.set()
        for session in list(self._sessions):
            session.freeze(frozen)
            if self._chain.faults.is_on(ChainFault.REFUSE_CONNECTIONS):
                session.cut()

    def thaw(self) -> None:
        """Let everybody go on, so that the server can end."""
        self._thawed.set()
        for session in list(self._sessions):
            session.freeze(False)

    def tell(self, block: Block) -> None:
        for session in list(self._sessions):
            session.new_block(block)

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP; None lets a WebSocket handshake go on."""
        if "Upgrade" not in request.headers:
            return page(self._chain, connection, request)
        await self._thawed.wait()
        if self._chain.faults.strikes(ChainFault.TOO_MANY_REQUESTS):
            response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests\n")
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
            return response
        if self._chain.faults.strikes(ChainFault.REFUSE_CONNECTIONS):
            connection.transport.abort()
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "nobody reads this\n")
        return None

    async def handle(self, connection: ServerConnection) -> None:
        session = ClientSession(self._chain, connection, self._thawed)
        self._sessions.add(session)
        session.freeze(not self._thawed.is_set())
        try:
            await session.run()
        except Exception:
            log.exception("a connection ended by a fault of the devnet itself")
            raise
        finally:
            self._sessions.discard(session)


async def _block_clock(chain: DevnetChain) -> None:
    beats = 0
    try:
        while True:
            await asyncio.sleep(chain.config.block_time_s)
            beats += 1
            if chain.faults.is_on(ChainFault.SLOW_BLOCKS) and beats < chain.faults.slow_factor:
                continue
            beats = 0
            chain.faults.strikes(ChainFault.SLOW_BLOCKS)
            chain.tick()
    except Exception:
        log.exception("the block clock stopped at block %d", chain.head.number)
        raise


async def _listen(door: _Door, host: str, port: int) -> Server:
    try:
        return await serve(
            door.handle,
            host,
            port,
            max_size=_MAX_MESSAGE_BYTES,
            logger=_connection_log,
            process_request=door.admit,
            ping_interval=None,  # a frozen client is the client's affair, a frozen node pings nobody
            open_timeout=None,
            close_timeout=_CLOSE_TIMEOUT_S,
        )
    except OSError as error:
        raise DevnetError(f"cannot serve the chain on {host}:{port}: {error.strerror}; is it running?") from error


@asynccontextmanager
async def serve_chain(chain: DevnetChain, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Serve the chain and run its block clock; yields the bound port (`port` 0 takes any free one).

    `ws://host:port` speaks JSON-RPC, `http://host:port/` shows the chain as JSON (`pages`). Raises `DevnetError` when
    the port cannot be bound.
    """
    loop, door = asyncio.get_running_loop(), _Door(chain)

    def tell_soon(block: Block) -> None:
        loop.call_soon_threadsafe(door.tell, block)  # blocks may be made in another thread

    def switch_soon() -> None:
        loop.call_soon_threadsafe(door.apply_faults)

    async with await _listen(door, host, port) as server:
        stop_telling, stop_switching = chain.on_block(tell_soon), chain.faults.on_change(switch_soon)
        clock = asyncio.create_task(_block_clock(chain)) if chain.config.block_time_s else None
        try:
            yield next(iter(server.sockets)).getsockname()[1]
        finally:
            stop_telling()
            stop_switching()
            door.thaw()
            if clock is not None:
                clock.cancel()
                with suppress(asyncio.CancelledError):
                    await clock

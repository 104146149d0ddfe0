"""One connection to the stand-in: requests in, answers and notifications out, and what faults do to both."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from loosh_pipeline.devnet.chain.administration import DevnetChain
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.devnet.chain.ledger import Block
from loosh_pipeline.devnet.chain.rpc import FINALIZED_HEAD, ConnectionCut, answer

log = logging.getLogger(__name__)

_MAX_UNSENT = 4096
"""Messages one connection may leave unread before it is closed: a slow reader must not fill memory."""


class ClientSession:
    """One connection. Responses and notifications leave through one queue, in the order they were made.

    Nothing is read or sent unless `thawed` is set.
    """

    def __init__(self, chain: DevnetChain, connection: ServerConnection, thawed: asyncio.Event) -> None:
        self._chain = chain
        self._connection = connection
        self._thawed = thawed
        self._unsent: asyncio.Queue[str] = asyncio.Queue(_MAX_UNSENT)
        self._ids = itertools.count(1)
        self._heads: dict[str, str] = {}
        self._finalized_told = chain.finalized.number
        self._watched: dict[str, str] = {}
        self._included: dict[str, tuple[str, Block]] = {}
        self._mute = False

    def subscribe_heads(self, notification: str) -> str:
        subscription = f"heads-{next(self._ids)}"
        self._heads[subscription] = notification
        return subscription

    def submit(self, raw: bytes) -> str:
        """Take a transaction; its hash. Raises `Refused`, or `ConnectionCut` when a fault strikes."""
        faults = self._chain.faults
        if faults.strikes(ChainFault.DROP_BEFORE_SUBMIT):
            self.cut()
            raise ConnectionCut
        extrinsic = self._chain.submit(raw)
        if faults.strikes(ChainFault.DROP_AFTER_SUBMIT):
            self.cut()
            raise ConnectionCut
        self._mute = faults.strikes(ChainFault.HANG_AFTER_SUBMIT)
        return extrinsic.hash

    def watch(self, raw: bytes) -> str:
        subscription = f"extrinsic-{next(self._ids)}"
        self._watched[subscription] = self.submit(raw)
        return subscription

    def unsubscribe(self, subscription: str) -> bool:
        kinds: tuple[dict[str, Any], ...] = (self._heads, self._watched, self._included)
        return any([kind.pop(subscription, None) is not None for kind in kinds])

    def new_block(self, block: Block) -> None:
        """Tell the subscriptions of this connection about a block."""
        self._tell_heads(block)
        for subscription, (extrinsic, held_by) in list(self._included.items()):
            if not self._chain.holds(held_by):
                self._progress(subscription, {"retracted": held_by.hash})
                del self._included[subscription]
                self._watched[subscription] = extrinsic
        for subscription, extrinsic in list(self._watched.items()):
            if extrinsic in block.included:
                self._progress(subscription, {"inBlock": block.hash})
                del self._watched[subscription]
                self._included[subscription] = (extrinsic, block)
        finalized = self._chain.finalized.number
        for subscription, (_, held_by) in list(self._included.items()):
            if held_by.number <= finalized and self._chain.holds(held_by):
                self._progress(subscription, {"finalized": held_by.hash})
                del self._included[subscription]

    def _tell_heads(self, block: Block) -> None:
        final = [self._chain.block_at(n) for n in range(self._finalized_told + 1, self._chain.finalized.number + 1)]
        self._finalized_told = self._chain.finalized.number
        for subscription, notification in self._heads.items():
            for told in final if notification == FINALIZED_HEAD else [block]:
                if told is not None:
                    self._notify(notification, subscription, told.header())

    def cut(self) -> None:
        """Break the connection, as a lost network does."""
        self._connection.transport.abort()

    def freeze(self, frozen: bool) -> None:
        """Stop reading the socket, or go on."""
        if frozen:
            self._connection.transport.pause_reading()
        else:
            self._connection.transport.resume_reading()

    async def run(self) -> None:
        """Serve until the client leaves."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._connection:
                await self._thawed.wait()
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
        try:
            if isinstance(request, list):
                self._send([answer(self._chain, self, part) for part in request])
            else:
                self._send(answer(self._chain, self, request))
        except ConnectionCut:
            return
        for subscription in self._watched.keys() - watched_before:
            self._progress(subscription, "ready")

    def _progress(self, subscription: str, status: Any) -> None:
        self._notify("author_extrinsicUpdate", subscription, status)

    def _notify(self, method: str, subscription: str, result: Any) -> None:
        params = {"subscription": subscription, "result": result}
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def _send(self, message: Any) -> None:
        if self._mute or self._chain.faults.strikes(ChainFault.SILENCE):
            return
        try:
            self._unsent.put_nowait(json.dumps(message))
        except asyncio.QueueFull:
            log.warning("closing a client that left %d messages unread", _MAX_UNSENT)
            self.cut()

    async def _write(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                message = await self._unsent.get()
                await self._thawed.wait()
                await self._connection.send(message)

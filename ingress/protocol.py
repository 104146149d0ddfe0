"""HTTP connections of strangers: what is too long, never ends, or comes in crowds ends, before honest ones suffer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingress.callers import UNKNOWN, is_of, peer_of

MAX_HEAD_BYTES = 64 * 1024
MAX_CONNECTIONS = 800
"""Below the 1024 files that a process may usually have open."""
MAX_OF_ONE_ADDRESS = 64
FIRST_BYTE_WITHIN_S = 5.0
REQUEST_WITHIN_S = 30.0
ANSWER_WITHIN_S = 60.0
LOOK_EVERY_S = 2.5


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for a request, and keeps a head of any length.

    One timer a connection looks now and then, as one a request would cost more than the rest of this. Connections are
    counted by address; those of this machine and of `proxies` are not. Where there are too many in all, one of the
    address that has most gives way, the one that has been waiting longest, rather than the one that just came.
    """

    proxies: tuple[str, ...] = ()
    """Networks of this validator's own."""
    address = UNKNOWN
    own = False
    """Of this machine, or of a proxy of ours, which has one connection for each request that it passes on."""
    since_s = 0.0
    """Since when it waits for a request, receives one, or answers one."""
    answering = False
    _head_bytes = 0
    _in_head = True
    _silent = True
    _between = True
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        host = self.client[0] if self.client else UNKNOWN
        self.address, loopback = peer_of(host)
        self.own = loopback or is_of(host, self.proxies)
        self.since_s = self.loop.time()
        self._look = self.loop.call_later(LOOK_EVERY_S, self._look_at_it)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._between and not self.answering:
            self.since_s = self.loop.time()
        self._silent = self._between = False
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.give_up()

    def on_headers_complete(self) -> Any:
        self._in_head, self._head_bytes = False, 0
        return super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._between = True, True
        self.answering, self.since_s = not self.cycle.response_complete, self.loop.time()

    def on_response_complete(self) -> None:
        self.answering, self.since_s = bool(self.pipeline), self.loop.time()
        super().on_response_complete()

    def _look_at_it(self) -> None:
        within_s = ANSWER_WITHIN_S if self.answering else REQUEST_WITHIN_S
        if self._silent:
            within_s = min(within_s, FIRST_BYTE_WITHIN_S)
        if self.loop.time() - self.since_s > within_s:
            self.give_up()
        else:
            self._look = self.loop.call_later(LOOK_EVERY_S, self._look_at_it)

    def _make_room(self) -> None:
        """Close this connection if its address has too many, else another if all together are too many."""
        mine = [each for each in self._open() if each.address == self.address]
        if not self.own and len(mine) > MAX_OF_ONE_ADDRESS:
            self.give_up()
        elif len(self.connections) > MAX_CONNECTIONS:
            others = self._open()
            count = Counter(each.address for each in others if not each.own)
            max(others, key=lambda each: (count[each.address], not each.answering, -each.since_s)).give_up()

    def _open(self) -> list[BoundedProtocol]:
        return cast("list[BoundedProtocol]", list(self.connections))

    def give_up(self) -> None:
        """End the connection now, whatever its peer has not read yet."""
        self.connections.discard(self)
        if self.transport is not None:
            self.transport.abort()

"""HTTP connections of strangers: a request that is too long to say, or never said to its end, ends its connection."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
REQUEST_WITHIN_S = 30.0
LOOK_EVERY_S = 5.0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for a request, and keeps a head of any length.

    One timer a connection looks now and then, as one a request would cost more than the rest of this.
    """

    _head_bytes = 0
    _in_head = True
    _since_s: float | None = None
    """Since when a request is being received; None between two."""
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self._look = self.loop.call_later(LOOK_EVERY_S, self._look_at_it)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._since_s is None:
            self._since_s = self.loop.time()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._give_up()

    def on_headers_complete(self) -> Any:
        self._in_head, self._head_bytes = False, 0
        return super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._since_s = True, None

    def _look_at_it(self) -> None:
        if self._since_s is not None and self.loop.time() - self._since_s > REQUEST_WITHIN_S:
            self._give_up()
        else:
            self._look = self.loop.call_later(LOOK_EVERY_S, self._look_at_it)

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

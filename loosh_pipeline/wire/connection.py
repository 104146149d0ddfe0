"""One connection to one stranger: a request at a time, bounded in bytes, pieces and headers, timed at the socket.

HTTP is parsed by h11, as httpx does; the socket is ours, for two reasons. The time of an answer is taken when its
last bytes leave the kernel, not when a task of a client library is woken. And whatever a stranger sends costs
little before it is refused: a general client reads endless interim responses or chunks of one byte for as long as
they come, and everyone else who is being timed meanwhile would look slow.

There are no redirects, no proxies, no decompression and no names to look up.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import h11

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.addresses import Endpoint
from loosh_pipeline.wire.bodies import BodyTooLarge, check_headers

MAX_CONTROL_BYTES = 64 * 1024
"""Cap on every body that is not an answer: public keys, key exchanges, availability, refusals."""

_MAX_HEAD_BYTES = 16 * 1024
_MAX_HEADERS = 100
_MAX_INTERIM = 4
_READ_BYTES = 64 * 1024
_FREE_PIECES = 2048
_BYTES_A_PIECE = 256
"""A body may come in `_FREE_PIECES` pieces and one more for every `_BYTES_A_PIECE` bytes of it."""

_SAME_HEADERS = (("User-Agent", "loosh-validator"), ("Accept-Encoding", "identity"))


class ConnectFailed(WireError):
    """No connection could be made."""


class ConnectionLost(WireError):
    """The connection ended, or carried something other than HTTP, before the answer was whole."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. Its request was sent and its last byte received at these times of the performance counter,
    in this order. Names of headers are lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at_s: float
    received_at_s: float

    @property
    def elapsed_ms(self) -> float:
        return (self.received_at_s - self.sent_at_s) * 1000.0

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class _StampedReader(asyncio.StreamReader):
    """Remembers when bytes last came out of the socket, and how many of them nobody has read yet."""

    fed_at_s = 0.0
    unread = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # asyncio passes nothing else
        self.fed_at_s = time.perf_counter()
        self.unread += len(data)
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self.unread -= len(data)
        return data


class _Socket:
    """An open connection: its two directions, and how far the HTTP on it has come."""

    def __init__(self, transport: asyncio.Transport, reader: _StampedReader) -> None:
        self.transport = transport
        self.reader = reader
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._bytes_left = 0

    @property
    def reusable(self) -> bool:
        """Whether it is open, and nothing came on it that was not asked for: no answer is older than its question."""
        if self.transport.is_closing() or self.reader.at_eof() or self.reader.unread or self.http.trailing_data[0]:
            return False
        arrived = select.poll()
        arrived.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not arrived.poll(0)

    def send(self, method: str, path: str, headers: list[tuple[str, str]], content: bytes) -> float:
        """Send a request; returns when, by the performance counter."""
        events = (h11.Request(method=method, target=path, headers=headers), h11.Data(content), h11.EndOfMessage())
        encoded = b"".join(self.http.send(event) or b"" for event in events)
        sent_at_s = time.perf_counter()
        self.transport.write(encoded)  # not waited for: who answers before having read it all is heard
        self._acknowledge_at_once()
        return sent_at_s

    def _acknowledge_at_once(self) -> None:
        """A server that sends head and body apart may hold back the body until the head is acknowledged, which a
        kernel puts off for 40 ms when it can: those would be counted as the miner's.
        """
        if sys.platform == "linux":
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def response(self) -> h11.Response:
        """The head of the final answer."""
        self._bytes_left = _MAX_HEAD_BYTES * (_MAX_INTERIM + 1)
        for _ in range(_MAX_INTERIM + 1):
            event = await self._event(_MAX_HEAD_BYTES)
            if isinstance(event, h11.Response):
                if len(event.headers) > _MAX_HEADERS:
                    raise WireError(f"the answer has {len(event.headers)} headers; at most {_MAX_HEADERS} are read")
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionLost("connection lost: it ended without an answer")
        raise WireError(f"more than {_MAX_INTERIM} interim responses came before the answer")

    async def body(self, max_bytes: int) -> bytes:
        body = bytearray()
        pieces = 0
        self._bytes_left = 2 * max_bytes + _READ_BYTES
        while isinstance(event := await self._event(_READ_BYTES), h11.Data):
            body += event.data
            pieces += 1
            if len(body) > max_bytes:
                raise BodyTooLarge(f"body is longer than {max_bytes} bytes")
            if pieces > _FREE_PIECES + len(body) // _BYTES_A_PIECE:
                raise WireError(f"{len(body)} bytes of the body came in {pieces} pieces")
        return bytes(body)

    async def _event(self, read_bytes: int) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(read_bytes)
            self._bytes_left -= len(data)
            if self._bytes_left < 0:
                raise WireError("far more was sent than an answer has")
            self.http.receive_data(data)
        return event


class Connection:
    """At most one open connection to an endpoint, made when it is needed. Closed by leaving its block."""

    def __init__(self, endpoint: Endpoint, *, connect_timeout_s: float) -> None:
        self._endpoint = endpoint
        self._connect_timeout_s = connect_timeout_s
        self._socket: _Socket | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Reply:
        """Send a request and read its answer.

        The body of a refusal that is too long or encoded is left unread; a success must be whole and plain, and at
        most `max_bytes` long. Raises ConnectFailed, ConnectionLost, BodyTooLarge or WireError.
        """
        link = await self._connected()
        try:
            sent_at_s = link.send(method, path, self._headers(method, headers or {}, content), content)
            response = await link.response()
            named = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
            body = await self._body(link, response.status_code, named, max_bytes)
        except (h11.RemoteProtocolError, OSError) as error:
            self._close()
            raise ConnectionLost(f"connection lost: {error or type(error).__name__}") from error
        except BaseException:  # also a deadline: what is left of this answer must not be read as the next one
            self._close()
            raise
        if link.http.our_state is h11.DONE and link.http.their_state is h11.DONE:
            link.http.start_next_cycle()
        else:
            self._close()
        # Who answers on a new connection before having been asked took no time; on a used one it is not heard.
        return Reply(response.status_code, named, body, sent_at_s, max(sent_at_s, link.reader.fed_at_s))

    async def _connected(self) -> _Socket:
        if self._socket is not None and self._socket.reusable:
            return self._socket
        self._close()
        loop = asyncio.get_running_loop()
        reader = _StampedReader(limit=_READ_BYTES, loop=loop)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, _ = await loop.create_connection(
                    lambda: asyncio.StreamReaderProtocol(reader, loop=loop), self._endpoint.host, self._endpoint.port
                )
        except TimeoutError as error:
            raise ConnectFailed(f"no connection: nothing within {self._connect_timeout_s:g} s") from error
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise ConnectFailed(f"no connection: {reason}") from error
        self._socket = _Socket(transport, reader)
        return self._socket

    def _headers(self, method: str, headers: Mapping[str, str], content: bytes) -> list[tuple[str, str]]:
        length = [] if method == "GET" else [("Content-Length", str(len(content)))]
        return [("Host", self._endpoint.authority), *_SAME_HEADERS, *headers.items(), *length]

    async def _body(self, link: _Socket, status: int, headers: Mapping[str, str], max_bytes: int) -> bytes:
        if 200 <= status < 300:
            check_headers(headers, max_bytes)
            return await link.body(max_bytes)
        try:
            check_headers(headers, MAX_CONTROL_BYTES)
            return await link.body(MAX_CONTROL_BYTES)
        except WireError:  # a refusal counts by its status
            return b""

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

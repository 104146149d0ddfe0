"""One connection to one stranger: what it costs to be lied to, and when the clock runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.addresses import Endpoint
from loosh_pipeline.wire.bodies import BodyTooLarge
from loosh_pipeline.wire.connection import ConnectFailed, Connection, ConnectionLost, Reply
from tests.wire.peers import http, listening

MAX_BYTES = 100_000
STALL_S = 0.1
"""Longest a single stranger may keep the loop busy, his server on the same loop included."""

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def connected(serve: Script, host: str = "127.0.0.1") -> AsyncIterator[Connection]:
    async with (
        listening(serve, host) as port,
        Connection(Endpoint(host, port), connect_timeout_s=1.0) as connection,
    ):
        yield connection


async def get(connection: Connection, **how: Any) -> Reply:
    return await connection.request("GET", "/x", **{"max_bytes": MAX_BYTES} | how)


def answering(*answers: bytes) -> Script:
    """Sends the nth answer to the nth request of a connection, then ends it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


def flooding(head: bytes, piece: bytes) -> Script:
    """Sends `piece` for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        block = piece * max(1, 65_536 // len(piece))
        while True:
            writer.write(block)
            await writer.drain()

    return serve


def ask(serve: Script, **how: Any) -> Reply:
    async def scenario() -> Reply:
        async with connected(serve) as connection:
            return await get(connection, **how)

    return asyncio.run(scenario())


def test_an_answer() -> None:
    reply = ask(answering(http(200, b"body", x_some="a")))
    assert (reply.status, reply.body, reply.headers["x-some"], reply.is_success) == (200, b"body", "a", True)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\n\r\nbody",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    ],
)
def test_every_way_to_frame_a_body(raw: bytes) -> None:
    assert ask(answering(raw)).body == b"body"


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece", "error"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "interim"),
        (CHUNKED, b"1\r\nx\r\n", "pieces"),
        (CHUNKED, b"1;" + b"e" * 4000 + b"\r\nx\r\n", r"far more|pieces"),
        (CHUNKED, b"ffff;\r\n" + b"x" * 65535 + b"\r\n", "longer than"),
        (CHUNKED + b"0\r\n", b"trailer: x\r\n", "connection lost"),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", "connection lost"),
        (b"HTTP/1.1 200 OK\r\na: ", b"b" * 100, "connection lost"),
        (b"", b"\r\n", "connection lost"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100, "longer than"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", b"x", "longer than"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\ncontent-encoding: gzip\r\n\r\n", b"x", "gzip"),
    ],
)
def test_w_8_a_flood_ends_early_and_does_not_hold_up_the_others(head: bytes, piece: bytes, error: str) -> None:
    stalls: list[float] = []

    async def scenario() -> None:
        async with connected(flooding(head, piece)) as connection:
            watching = asyncio.create_task(watch(stalls))
            with pytest.raises(WireError, match=error):
                await asyncio.wait_for(get(connection), 5)
            watching.cancel()

    asyncio.run(scenario())
    assert max(stalls, default=0.0) < STALL_S


async def watch(stalls: list[float]) -> None:
    """Notes how late the loop comes back to someone who waits his turn."""
    while True:
        asked_s = time.thread_time()  # what the machine does for others meanwhile does not count
        await asyncio.sleep(0)
        stalls.append(time.thread_time() - asked_s)


def test_too_many_headers() -> None:
    with pytest.raises(WireError, match="101 headers"):
        ask(answering(http(200, b"", **{f"h{number}": "x" for number in range(100)})))


def test_w_8_a_body_is_read_up_to_its_cap() -> None:
    assert len(ask(answering(http(200, b"x" * MAX_BYTES))).body) == MAX_BYTES
    with pytest.raises(BodyTooLarge):
        ask(answering(http(200, b"x" * (MAX_BYTES + 1))))


@pytest.mark.parametrize("extra", [{"content_encoding": "gzip"}, {"content_length": "9999999"}])
def test_a_refusal_counts_by_its_status_whatever_its_body(extra: dict[str, str]) -> None:
    reply = ask(answering(http(503, b"x", **extra)))
    assert (reply.status, reply.body, reply.is_success) == (503, b"", False)


def test_one_connection_carries_all_requests_and_a_closed_one_is_followed_by_another() -> None:
    connections = 0
    closing = http(200, b"2", connection="close")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(http(200, b"1"), closing)(reader, writer)

    async def scenario() -> list[bytes]:
        async with connected(serve) as connection:
            return [(await get(connection)).body for _ in range(4)]

    assert asyncio.run(scenario()) == [b"1", b"2", b"1", b"2"]
    assert connections == 2


@pytest.mark.parametrize("where", ["behind the last answer", "in the reader", "in the kernel"])
def test_w_9_what_came_before_it_was_asked_for_is_no_answer(where: str) -> None:
    connections = 0
    early, behind = http(200, b"early"), where == "behind the last answer"
    heard, sent = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(200, b"asked") + (early if behind else b""))
        await heard.wait()
        if not behind:
            writer.write(early)
        sent.set()
        await reader.read()

    async def scenario() -> tuple[Reply, Reply]:
        async with connected(serve) as connection:
            first = await get(connection)
            assert connection._socket is not None
            heard.set()
            await sent.wait()
            while where == "in the reader" and not connection._socket.reader.unread:
                await asyncio.sleep(0)
            return first, await get(connection)

    first, second = asyncio.run(scenario())
    assert (first.body, second.body, connections) == (b"asked", b"asked", 2)
    assert min(first.elapsed_ms, second.elapsed_ms) > 0


class Late(Connection):
    """Asks when the answer is there."""

    async def _connected(self) -> Any:
        link = await super()._connected()
        while not link.reader.unread:
            await asyncio.sleep(0)
        return link


def test_w_9_no_answer_took_less_than_no_time() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(503))
        await reader.read()

    async def scenario() -> Reply:
        async with listening(serve) as port, Late(Endpoint("127.0.0.1", port), connect_timeout_s=1.0) as connection:
            return await get(connection)

    reply = asyncio.run(scenario())
    assert (reply.status, reply.elapsed_ms) == (503, 0.0)


def test_after_a_failure_the_rest_of_an_answer_is_not_taken_for_the_next() -> None:
    async def scenario() -> Reply:
        async with connected(answering(http(200, b"x" * 200), http(200, b"fine"))) as connection:
            with pytest.raises(BodyTooLarge):
                await get(connection, max_bytes=100)
            return await get(connection, max_bytes=300)

    assert asyncio.run(scenario()).body == b"x" * 200


def test_who_answers_without_reading_the_request_is_heard() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(413, b'{"detail": "too long"}'))
        await asyncio.sleep(60)

    async def scenario() -> Reply:
        async with connected(serve) as connection:
            return await connection.request("POST", "/x", max_bytes=MAX_BYTES, content=bytes(20_000_000))

    assert asyncio.run(scenario()).status == 413


def test_the_clock_runs_from_the_first_byte_sent_to_the_last_received() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbody")
        await asyncio.sleep(2)  # nothing more comes: that it ended is no part of the answer

    reply = ask(serve)
    assert reply.body == b"body"
    assert 200 <= reply.elapsed_ms < 2000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to acknowledge at once")
def test_head_and_body_sent_apart_are_not_40_ms_apart() -> None:
    """As by a server that leaves it to the kernel when small pieces go out (Nagle)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
            writer.write(b"body")

    async def scenario() -> list[float]:
        async with connected(serve) as connection:
            return [(await get(connection)).elapsed_ms for _ in range(30)]

    assert statistics.median(sorted(asyncio.run(scenario()))[10:]) < 20


def test_w_9_time_spent_on_others_after_an_answer_came_is_not_the_answers() -> None:
    """What a task does when it is woken, and how late, does not count: the reader stamps what it is fed."""

    async def scenario() -> Reply:
        async with connected(answering(http(200, b"x"))) as connection:
            asking = asyncio.create_task(get(connection))
            busy = asyncio.create_task(block_when_fed(connection, 3.0))
            reply = await asking
            await busy
            return reply

    assert asyncio.run(scenario()).elapsed_ms < 2500


async def block_when_fed(connection: Connection, seconds: float) -> None:
    """Keeps the loop busy as soon as bytes are there, before whoever waits for them is woken."""
    while connection._socket is None or not connection._socket.reader.fed_at_s:
        await asyncio.sleep(0)
    time.sleep(seconds)


def test_nobody_there() -> None:
    async def scenario() -> None:
        async with listening(answering()) as port:
            pass
        async with Connection(Endpoint("127.0.0.1", port), connect_timeout_s=1.0) as connection:
            with pytest.raises(ConnectFailed, match="no connection"):
                await get(connection)

    asyncio.run(scenario())


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", b"SSH-2.0-OpenSSH\r\n\r\n"])
def test_what_is_cut_short_or_no_http(raw: bytes) -> None:
    with pytest.raises(ConnectionLost):
        ask(answering(raw))


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 X\r\n",
        b"content-length: 5\r\n",
        b"content-length: -1\r\n",
        b"\r\n",
        b"5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"content-encoding: br\r\n",
        b"\x00\xff:",
        b"hello",
        b"0\r\n\r\n",
        b": \r\n",
    ]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(raw=st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_bytes_are_an_answer_or_refused(raw: bytes) -> None:
    with contextlib.suppress(WireError):
        assert len(ask(answering(raw)).body) <= MAX_BYTES

"""A small proxy in front of several ingresses: each connection goes to the next one that takes it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes on, as HAProxy does in its TCP mode: what is encrypted and signed stays what it was."""

    def __init__(self, backends: Sequence[int]) -> None:
        self._backends = backends
        self._turn = itertools.count()
        self.passed: Counter[int] = Counter()
        """Connections by the port that took them."""
        self.port = 0

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stop.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.05)  # what was closed is let go of

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(self._turn)
        for step in range(len(self._backends)):
            port = self._backends[(first + step) % len(self._backends)]
            try:
                theirs, ours = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            self.passed[port] += 1
            await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))
            return
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(64 * 1024):
                target.write(data)
                await target.drain()
    finally:
        target.close()


@contextmanager
def running_proxy(backends: Sequence[int]) -> Iterator[Proxy]:
    """On a loopback port of its own, in a thread, until the block ends."""
    proxy, ready, loop, stop = Proxy(backends), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()

"""Durable posts a second of a running ingress: `python -m benchmarks.ingress [--quick] [--json]`.

A real ingress, with a data directory of its own, and a bare FastAPI endpoint that parses and forgets are posted to in
turns over 32 connections each on loopback, so that a noisy machine disturbs both alike. The client speaks HTTP by hand
on asyncio's protocols: a library would be slower than what it measures, and every id that was answered with 201 is
looked up in the table afterwards. Figures are medians of the rounds; the last line with `--json` is one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.supervisor import Service, free_ports, supervised

CONNECTIONS = 32
PROMPT = "Why is the sky blue during the day but red or orange at sunset? Explain it to a curious child."
REQUEST = (
    "POST /challenges HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"
)
CREATED = b"HTTP/1.1 201"


@dataclass(slots=True)
class Round:
    """What one server did for a while: the ids it took, how long each answer took, and what else it said."""

    seconds: float
    ids: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return len(self.ids) / self.seconds

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000.0 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Connection(asyncio.Protocol):
    """Posts one challenge after the other until the round is over."""

    def __init__(self, name: str, result: Round, until_s: float, done: asyncio.Future[None]) -> None:
        self._name = name
        self._result = result
        self._until_s = until_s
        self._done = done
        self._number = 0
        self._id = ""
        self._sent_s = 0.0
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._post()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        now_s = time.perf_counter()
        self._result.latencies_s.append(now_s - self._sent_s)
        if head.startswith(CREATED):
            self._result.ids.append(self._id)
        else:
            self._result.refused.append(f"{head[:15].decode()} {body[:200].decode('utf-8', 'replace')}")
        self._received = b""
        if now_s < self._until_s:
            self._post()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _post(self) -> None:
        assert self._transport is not None
        self._number += 1
        self._id = f"{self._name}-{self._number}"
        body = f'{{"id": "{self._id}", "prompt": "{PROMPT}", "max_tokens": 512, "temperature": 0.7}}'
        self._sent_s = time.perf_counter()
        self._transport.write(REQUEST.format(len(body), body).encode())


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def post_for(port: int, name: str, seconds: float) -> Round:
    """Post over all connections for that long."""
    loop = asyncio.get_running_loop()
    result = Round(seconds)
    started_s = time.perf_counter()
    finished = [loop.create_future() for _ in range(CONNECTIONS)]
    for number, done in enumerate(finished):
        connection = Connection(f"{name}-{number}", result, started_s + seconds, done)
        await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", port)
    await asyncio.gather(*finished)
    result.seconds = time.perf_counter() - started_s
    return result


def _servers(home: Path, ports: Sequence[int]) -> tuple[Settings, list[Service]]:
    settings = Settings(
        _env_file=None,
        loosh_home=home,
        api_host="127.0.0.1",
        api_port=ports[0],
        intake_max_backlog=10**9,  # nothing consumes here
        unconsumed_after_s=1e9,
    )
    ingress = Service("ingress", [sys.executable, "-m", "ingress"], settings.environment(), ports[0])
    bare = Service("bare", [sys.executable, "-m", "benchmarks.bare_endpoint", str(ports[1])], {}, ports[1])
    return settings, [ingress, bare]


def _stored(settings: Settings, accepted: set[str]) -> int:
    """How many of the accepted ids lie in the table."""
    inbox = Inbox.open(settings.inbox_url)
    with inbox.engine.connect() as connection:
        found = accepted & set(connection.execute(select(challenges.c.id)).scalars())
    inbox.engine.dispose()
    return len(found)


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """The figures. Raises LooshError when a server does not start."""
    ours: list[Round] = []
    bare: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="loosh-ingress-") as folder:
        home = Path(folder)
        settings, services = _servers(home, free_ports(2))
        with supervised(services, home / "logs", lambda line: print(line, file=sys.stderr)):
            for service in services:  # the first requests of a process pay for what it loads
                asyncio.run(post_for(service.port or 0, f"warm-{service.name}", min(1.0, seconds)))
            for number in range(rounds):
                bare.append(asyncio.run(post_for(services[1].port or 0, f"bare-{number}", seconds)))
                ours.append(asyncio.run(post_for(services[0].port or 0, f"post-{number}", seconds)))
        accepted = {identity for each in ours for identity in each.ids}
        stored = _stored(settings, accepted)
    for said in sorted({said for each in (*ours, *bare) for said in each.refused})[:5]:
        print(f"refused: {said}", file=sys.stderr)
    return {
        "posts_per_s": round(statistics.median(each.per_s for each in ours), 1),
        "bare_posts_per_s": round(statistics.median(each.per_s for each in bare), 1),
        "p50_ms": round(statistics.median(each.percentile_ms(0.50) for each in ours), 2),
        "p99_ms": round(statistics.median(each.percentile_ms(0.99) for each in ours), 2),
        "accepted": len(accepted),
        "stored": stored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round, for each server")
    parser.add_argument("--quick", action="store_true", help="three rounds of one second")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(3, 1.0) if arguments.quick else measure(arguments.rounds, arguments.seconds)
    for name, value in figures.items():
        print(f"{name:>18}  {value}")
    if arguments.json:
        print(json.dumps(figures))
    if figures["stored"] != figures["accepted"]:
        sys.exit(1)


if __name__ == "__main__":
    main()

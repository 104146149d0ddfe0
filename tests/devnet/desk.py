"""An outbox, and the Challenge API that it is told to, at a URL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from loosh_pipeline.delivery import by_digest, deliver_due
from loosh_pipeline.devnet.api_record import Record
from loosh_pipeline.devnet.api_switches import Switches, Turn
from loosh_pipeline.devnet.servers import Served, serve_apps
from loosh_pipeline.domain import RESULTS, ChallengeState, DeliveryKind
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.wire.api_calls import CALLS
from loosh_pipeline.wire.challenge_api_client import HttpChallengeApi
from tests.builders import NOON
from tests.wire.peers import VALIDATOR
from tests.wire.telling import ID, bodies, golden

Tally = dict[str, int]

DELIVERED, ALREADY, RETRY, REFUSED = ({status: 1} for status in ("delivered", "already", "retry", "refused"))


@dataclass
class Desk:
    """An outbox, an API at a URL, and a clock that only the test moves."""

    outbox: Outbox
    inbox: Inbox
    client: HttpChallengeApi
    base_url: str
    record: Record
    switches: Switches
    now: datetime = NOON
    tallies: list[Tally] = field(default_factory=list)

    def keep(self, kind: DeliveryKind) -> None:
        if kind in RESULTS:
            self.outbox.keep_result(ID, golden(kind), self.now, kind)
        elif kind is DeliveryKind.HEATMAP:
            self.outbox.keep_heatmap(ID, golden(kind), self.now)
        else:
            self.outbox.keep_reports(kind, by_digest([bodies()[kind]]), self.now)

    def attempt(self, after_s: float = 0.0) -> Tally:
        self.now += timedelta(seconds=after_s)
        tally = deliver_due(self.outbox, self.client, lambda: self.now)
        self.tallies.append({status.value: count for status, count in tally.items()})
        return self.tallies[-1]

    def told(self, kind: DeliveryKind) -> int:
        if kind is DeliveryKind.RESPONSE_BATCH:
            return len(self.record.batches.all())
        return len(self.record.of(CALLS[kind].path))

    @property
    def state(self) -> ChallengeState:
        return self.inbox.get(ID).state


@contextmanager
def a_desk(database: Path, base_url: str, record: Record, switches: Switches, **options: Any) -> Iterator[Desk]:
    inbox = Inbox.open(f"sqlite:///{database}")
    client = HttpChallengeApi(base_url, VALIDATOR, **({"timeout_s": 5.0} | options))
    yield Desk(Outbox(inbox.engine, jitter=lambda: 0.0), inbox, client, base_url, record, switches)
    inbox.engine.dispose()


def run_turns(desk: Desk, kind: DeliveryKind, turns: Sequence[Turn], attempts: int) -> None:
    desk.switches.set(CALLS[kind].path, turns)
    desk.keep(kind)
    for number in range(attempts):
        desk.attempt(0.0 if number == 0 else 2.0 * 2 ** (number - 1))


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve an app from a thread of its own; yields its URL."""
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    ports: list[int] = []

    async def serve() -> None:
        async with serve_apps([Served(app)]) as (port,):
            ports.append(port)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()

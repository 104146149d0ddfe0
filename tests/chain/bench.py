"""A chain whose blocks can be held, and a validator beside it that sets weights and sees what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loosh_pipeline.chain.bittensor_chain import BittensorChain
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Block, Hotkey, Metagraph, Mode, Proposal
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weight_frames import write_submission
from loosh_pipeline.weight_setting import Desk, lease_length, review, set_weights


class Clock:
    """Blocks, one after another, while it runs."""

    def __init__(self, tick: Callable[[], object]) -> None:
        self.running, self._over = threading.Event(), threading.Event()
        self.running.set()
        self._thread = threading.Thread(target=self._run, args=(tick,))
        self._thread.start()

    def _run(self, tick: Callable[[], object]) -> None:
        while not self._over.wait(0.05):
            if self.running.is_set():
                tick()

    def end(self) -> None:
        self._over.set()
        self._thread.join(10)


@dataclass
class Bench:
    """A chain, a validator's settings with a database of their own, and what the next writer sees."""

    served: Any
    clock: Clock | None
    settings: Settings
    first: int
    """The first block that may hold what is sent from here."""

    chain_timeout_s: float | None = None
    """When set, the chain is asked through processes that end then."""

    @property
    def chain(self) -> Chain:
        settings = self.settings
        if self.chain_timeout_s is not None:
            return ProcessChain(settings.model_copy(update={"chain_timeout_s": self.chain_timeout_s}))
        return BittensorChain(
            settings.subtensor_address, settings.wallet_path, settings.wallet_name, settings.hotkey_name
        )

    @property
    def tables(self) -> Tables:
        return Tables(self.settings.tables_root)

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """The next writer's, once the lease of the killed one has expired."""

        length = lease_length(self.settings)

        def later() -> datetime:
            return datetime.now(UTC) + 2 * length

        engine = Inbox.open(self.settings.inbox_url).engine
        lease = Leases(engine).take(LEASE, "the next", later(), length)
        yield Desk(self.chain, Submissions(engine), lease, lambda row: write_submission(self.tables, row), later)
        engine.dispose()

    def snapshot(self) -> Metagraph:
        return self.chain.snapshot(self.settings.netuid)

    def rows(self) -> list[SubmissionRow]:
        engine = Inbox.open(self.settings.inbox_url).engine
        rows = list(Submissions(engine).recent(self.settings.netuid, self.chain.identity()))
        engine.dispose()
        return rows

    def settle(self) -> SubmissionRow:
        """What the next writer makes of the newest submission."""
        with self.desk() as desk:
            row, _ = review(desk, self.rows())
        return row

    def set_weights(self) -> SubmissionRow | NotYet:
        subnet = self.snapshot()
        shares = {subnet.neurons[2].hotkey: 0.25, subnet.neurons[3].hotkey: 0.75}
        proposal = Proposal(datetime.now(UTC), Block(0), Mode.NORMAL, "robust", "lookback", 1, shares)
        with self.desk() as desk:
            return set_weights(desk, subnet, Hotkey(self.chain.identity()), lambda: proposal)

    def included(self) -> int:
        """How many extrinsics this bench's blocks hold."""
        chain = self.served.chain
        return sum(len(chain.block_at(number).included) for number in range(self.first, chain.head.number + 1))


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)

"""A process that sets weights on the served chain is killed at every step; whoever comes next finds the right state.

The killed one is a real process with the real SDK behind it. The next one talks to the same chain in this process.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.chain.bittensor_chain import BittensorChain
from loosh_pipeline.chain.readiness import FIRST_RETRY_BLOCKS, REORG_BLOCKS, NotYet
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Block, Hotkey, Metagraph, Mode, Proposal
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weight_frames import write_submission
from loosh_pipeline.weight_setting import LEASE_LENGTH, Desk, review, set_weights
from tests.chain.conftest import ServedChain

WRITER = """
import sys
from datetime import UTC, datetime

import loosh_pipeline.weight_setting as setting
from loosh_pipeline.chain.conversation import Conversation
from loosh_pipeline.chain.messages import GO
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.domain import Block, Mode, Proposal
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weight_frames import write_submission

def stop(*_args, **_named):
    print("here", flush=True)
    sys.stdin.read()

def say(talk, line, said=Conversation.say):
    if line == GO and step == "signed":
        stop()
    said(talk, line)
    if line == GO and step == "sending":
        print("here", flush=True)

step = sys.argv[1]
Conversation.say = say
if step == "before the row":
    Submissions.plan = stop
elif step == "after the row":
    ProcessChain.submit_weights = stop
elif step == "after inclusion":
    setting._recorded = stop
elif step == "before the table":
    Tables.write = stop

settings = Settings()
chain, engine, now = ProcessChain(settings), Inbox.open(settings.inbox_url).engine, datetime.now(UTC)
subnet, own = chain.snapshot(settings.netuid), chain.identity()
lease = Leases(engine).take(LEASE, "the one that is killed", now, setting.LEASE_LENGTH)
tables = Tables(settings.tables_root)
desk = setting.Desk(chain, Submissions(engine), lease, lambda row: write_submission(tables, row))
shares = {subnet.neurons[2].hotkey: 0.25, subnet.neurons[3].hotkey: 0.75}
proposal = Proposal(now, Block(0), Mode.NORMAL, "robust", "lookback", 1, shares)
setting.set_weights(desk, subnet, own, lambda: proposal)
"""


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

    served: ServedChain
    clock: Clock
    settings: Settings
    first: int
    """The first block that may hold what is sent from here."""

    @property
    def chain(self) -> BittensorChain:
        settings = self.settings
        return BittensorChain(
            settings.subtensor_address, settings.wallet_path, settings.wallet_name, settings.hotkey_name
        )

    @property
    def tables(self) -> Tables:
        return Tables(self.settings.tables_root)

    @contextmanager
    def desk(self) -> Iterator[Desk]:
        """The next writer's, once the lease of the killed one has expired."""

        def later() -> datetime:
            return datetime.now(UTC) + 2 * LEASE_LENGTH

        engine = Inbox.open(self.settings.inbox_url).engine
        lease = Leases(engine).take(LEASE, "the next", later(), LEASE_LENGTH)
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
            row, _ = review(desk, self.rows()[0])
            desk.keep(row)
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


@pytest.fixture(scope="module")
def ticking(serve_devnet: Callable[..., Any]) -> Iterator[tuple[ServedChain, Clock]]:
    with serve_devnet(block_time_s=0, rate_limit_blocks=0) as served:
        served.chain.tick()
        clock = Clock(served.chain.tick)
        try:
            yield served, clock
        finally:
            clock.end()


@pytest.fixture
def bench(ticking: tuple[ServedChain, Clock], tmp_path: Path) -> Bench:
    served, clock = ticking
    clock.running.set()
    settings = served.settings(loosh_home=tmp_path / "loosh")
    Inbox.open(settings.inbox_url).engine.dispose()
    return Bench(served, clock, settings, served.chain.head.number + 1)


def killed_at(bench: Bench, step: str, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let a process set weights, and kill it with -9 when it has come this far."""
    environment = {"PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path), **bench.settings.environment()}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, step],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        meanwhile()
        process.kill()
    assert process.returncode == -9


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_before_the_row_nothing_happened_and_the_next_sets_them(bench: Bench) -> None:
    killed_at(bench, "before the row")
    assert bench.rows() == []
    said = bench.set_weights()
    assert isinstance(said, SubmissionRow)
    assert bench.settle().state == "observed"
    assert bench.included() == 1


def test_after_the_row_nothing_was_signed_and_the_next_tries_again(bench: Bench) -> None:
    killed_at(bench, "after the row")
    assert [row.state for row in bench.rows()] == ["planned"]
    again = bench.set_weights()
    assert isinstance(again, NotYet)
    assert again.code == "retry_later"
    bench.served.chain.tick(FIRST_RETRY_BLOCKS)
    assert isinstance(bench.set_weights(), SubmissionRow)
    assert [row.state for row in bench.rows()] == ["included", "expired"]
    assert bench.included() == 1


def test_signed_and_not_yet_told_to_send_it_is_never_sent_w_25(bench: Bench) -> None:
    killed_at(bench, "signed")
    (row,) = bench.rows()
    assert row.state == "sending"
    assert row.extrinsic_hash is not None
    waits = bench.set_weights()
    assert isinstance(waits, NotYet)
    assert waits.code == "submission_open"
    assert row.dies_at is not None
    bench.served.chain.tick(row.dies_at + REORG_BLOCKS - bench.served.chain.head.number)
    assert bench.settle().state == "expired"
    assert bench.included() == 0


def test_while_it_is_sent_it_is_included_all_the_same_and_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = bench.served.chain.submit

    def take_and_wait(raw: bytes) -> Any:
        bench.clock.running.clear()  # it waits in the pool, so that the kill comes before its inclusion
        return submit(raw)

    monkeypatch.setattr(bench.served.chain, "submit", take_and_wait)
    killed_at(bench, "sending", meanwhile=lambda: wait_for(bench.served.chain.pool))
    monkeypatch.undo()
    waits = bench.set_weights()
    assert isinstance(waits, NotYet)
    assert waits.code == "submission_open"
    bench.clock.running.set()
    wait_for(lambda: not bench.served.chain.pool())
    row = bench.settle()
    assert row.state == "observed"
    assert row.extrinsic_hash in bench.served.chain.block_at(row.included_block).included
    assert bench.included() == 1


@pytest.mark.parametrize("step", ["after inclusion", "before the table"])
def test_after_inclusion_the_chain_says_so_and_the_table_is_written(bench: Bench, step: str) -> None:
    killed_at(bench, step)
    (row,) = bench.rows()
    assert row.state == ("sending" if step == "after inclusion" else "included")
    assert bench.tables.latest("weights") is None
    assert bench.settle().state == "observed"
    table = bench.tables.latest("weights")
    assert table is not None
    assert table.select("state", "success", "extrinsic_hash").unique().rows() == [
        ("observed", True, row.extrinsic_hash)
    ]
    assert bench.included() == 1

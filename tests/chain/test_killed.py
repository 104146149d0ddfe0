"""A process that sets weights on the served chain is killed at every step; whoever comes next finds the right state.

The killed one is a real process with the real SDK behind it. The next one talks to the same chain in this process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from loosh_pipeline.chain.conversation import Conversation
from loosh_pipeline.chain.messages import GO
from loosh_pipeline.chain.readiness import FIRST_RETRY_BLOCKS, REORG_BLOCKS, NotYet
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.errors import ChainError
from tests.chain.bench import Bench, wait_for

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

def say(talk, line, within_s, said=Conversation.say):
    if line == GO and step == "signed":
        stop()
    said(talk, line, within_s)
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
lease = Leases(engine).take(LEASE, "the one that is killed", now, setting.lease_length(settings))
tables = Tables(settings.tables_root)
desk = setting.Desk(chain, Submissions(engine), lease, lambda row: write_submission(tables, row))
shares = {subnet.neurons[2].hotkey: 0.25, subnet.neurons[3].hotkey: 0.75}
proposal = Proposal(now, Block(0), Mode.NORMAL, "robust", "lookback", 1, shares)
setting.set_weights(desk, subnet, own, lambda: proposal)
"""


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


@pytest.mark.parametrize("commit_reveal", [False, True])
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


@pytest.mark.parametrize("commit_reveal", [False, True])
def test_while_it_is_sent_it_is_included_all_the_same_and_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, commit_reveal: bool
) -> None:
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
    assert row.state == ("committed" if commit_reveal else "observed")
    assert row.included_block is not None
    assert row.extrinsic_hash in bench.served.chain.block_at(row.included_block).included
    assert bench.included() == 1


@pytest.mark.parametrize(
    ("step", "commit_reveal"), [("after inclusion", False), ("before the table", False), ("after inclusion", True)]
)
def test_after_inclusion_the_chain_says_so_and_the_table_is_written(
    bench: Bench, step: str, commit_reveal: bool
) -> None:
    settled = "committed" if commit_reveal else "observed"
    killed_at(bench, step)
    (row,) = bench.rows()
    assert row.state == ("sending" if step == "after inclusion" else "included")
    assert bench.tables.latest("weights") is None
    assert bench.settle().state == settled
    table = bench.tables.latest("weights")
    assert table is not None
    assert table.select("state", "success", "extrinsic_hash").unique().rows() == [(settled, True, row.extrinsic_hash)]
    assert bench.included() == 1


def test_when_only_the_chains_process_is_killed_the_outcome_is_open_and_then_known_w_25(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, say = bench.served.chain.submit, Conversation.say

    def take_and_wait(raw: bytes) -> Any:
        bench.clock.running.clear()
        return submit(raw)

    def say_and_kill(talk: Conversation, line: bytes, within_s: float) -> None:
        say(talk, line, within_s)
        if line == GO:
            wait_for(bench.served.chain.pool)
            talk._process.kill()

    monkeypatch.setattr(bench.served.chain, "submit", take_and_wait)
    monkeypatch.setattr(Conversation, "say", say_and_kill)
    bench.chain_timeout_s = 20.0
    with pytest.raises(ChainError, match=r"ended with status -9 before it answered submit_weights.*is unknown"):
        bench.set_weights()
    assert [row.state for row in bench.rows()] == ["unknown"]
    bench.clock.running.set()
    wait_for(lambda: not bench.served.chain.pool())
    assert bench.settle().state == "observed"
    assert bench.included() == 1

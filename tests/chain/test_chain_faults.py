"""Every fault of the served chain, struck while weights are sent: the right state in the end, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bittensor_core import Keypair

from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.devnet.chain import NeuronSpec
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.domain import Uid
from loosh_pipeline.errors import ChainError
from loosh_pipeline.store.submissions import Submissions
from tests.chain.bench import Bench

PROMPT = ("drop_before_submit", "drop_after_submit", "refuse_connections", "requests_limited")
POOL = ("pool_full", "outdated", "banned", "low_priority")
MUTE = ("silence", "freeze", "stale_head")


@pytest.fixture
def strike(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`strike(fault)`: once, from when weights are signed until their submission has ended."""

    def arm(fault: str, **options: Any) -> None:
        switches = bench.served.chain.faults
        for name, value in options.items():
            monkeypatch.setattr(switches, name, value)
        move = Submissions.move

        def move_and_strike(self: Submissions, lease: Any, row: Any, state: Any, *args: Any, **named: Any) -> Any:
            moved = move(self, lease, row, state, *args, **named)
            sending = state is SubmissionState.SENDING
            switches.switch(ChainFault(fault), on=sending)
            if not sending:
                monkeypatch.setattr(Submissions, "move", move)
            return moved

        monkeypatch.setattr(Submissions, "move", move_and_strike)

    return arm


def in_the_end(bench: Bench) -> SubmissionRow:
    """Let blocks pass, look, and try again when that is decided, as the schedules do, until weights are observed."""
    for _ in range(30):
        row = bench.settle()
        if row.state is SubmissionState.OBSERVED:
            return row
        if not row.is_open and isinstance(said := bench.set_weights(), NotYet):
            assert said.due_block is not None, said.text
            bench.served.chain.tick(said.due_block - bench.served.chain.head.number)
        elif row.is_open:
            bench.served.chain.tick(8)
    raise AssertionError(f"never observed: {bench.rows()}")


def broken_off(bench: Bench) -> SubmissionRow:
    with pytest.raises(ChainError):
        bench.set_weights()
    return bench.rows()[0]


@pytest.mark.parametrize("fault", PROMPT)
def test_a_connection_that_breaks_while_sending_never_leads_to_two(
    bench: Bench, strike: Callable[..., None], fault: str
) -> None:
    strike(fault)
    assert broken_off(bench).state == "unknown"
    in_the_end(bench)
    assert bench.included() == 1


@pytest.mark.parametrize("fault", POOL)
def test_what_the_pool_refuses_is_refused_and_tried_again_later(
    bench: Bench, strike: Callable[..., None], fault: str
) -> None:
    strike(fault)
    row = bench.set_weights()
    assert isinstance(row, SubmissionRow)
    assert row.state == "refused"
    assert row.error_code
    in_the_end(bench)
    assert bench.included() == 1


@pytest.mark.parametrize("fault", MUTE)
def test_a_node_that_falls_silent_while_sending_costs_the_deadline_and_nothing_else_w_10(
    bench: Bench, strike: Callable[..., None], fault: str
) -> None:
    strike(fault)
    bench.chain_timeout_s = 3.0
    assert broken_off(bench).state == "unknown"
    bench.chain_timeout_s = None
    in_the_end(bench)
    assert bench.included() == 1


@pytest.mark.parametrize("returns", [True, False])
def test_what_a_reorganisation_takes_out_comes_back_or_is_sent_again(
    bench: Bench, strike: Callable[..., None], returns: bool
) -> None:
    strike("reorg", reorg_returns=returns)
    bench.set_weights()
    in_the_end(bench)
    assert bench.included() == 1


def test_a_runtime_that_changes_under_way_is_noticed_and_weights_are_set(
    serve_devnet: Callable[..., Any],
) -> None:
    with serve_devnet(runtime="recorded439", block_time_s=0.05, rate_limit_blocks=0) as served:
        chain = ProcessChain(served.settings())
        before = chain.snapshot(78).spec_version
        served.chain.upgrade("current")
        served.chain.tick(2)
        assert chain.snapshot(78).spec_version > before


def test_a_recycled_slot_is_told_and_its_weight_is_not_missed(bench: Bench) -> None:
    assert isinstance(bench.set_weights(), SubmissionRow)
    newcomer = Keypair.create_from_uri("//newcomer").ss58_address
    row = bench.rows()[0]
    planned = {Uid(uid): hotkey for uid, hotkey in row.plan.hotkeys.items()}
    bench.served.chain.replace_neuron(2, NeuronSpec(newcomer, newcomer))
    try:
        assert bench.settle().state == "observed"
        said = bench.set_weights()
        assert isinstance(said, SubmissionRow)
        assert said.plan.hotkeys[Uid(2)] == newcomer
        assert planned[Uid(2)] not in said.plan.hotkeys.values()
    finally:
        bench.served.chain.replace_neuron(2, NeuronSpec(planned[Uid(2)], planned[Uid(2)], ip="127.0.0.1", port=9000))


def test_an_address_is_announced_and_read_back(bench: Bench) -> None:
    said = bench.chain.serve_axon(78, "9.9.9.9", 8000)
    assert said.success, said.error
    own = bench.snapshot().by_hotkey()[bench.chain.identity()]
    assert (own.ip, own.port) == ("9.9.9.9", 8000)
    again = bench.chain.serve_axon(78, "9.9.9.10", 8000)
    assert (again.success, again.error_code) == (False, "rate_limited")

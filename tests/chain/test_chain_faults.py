"""Every fault of the served chain, struck while weights are sent: the right state in the end, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import Keypair

from loosh_pipeline.chain.alerts import alerts
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain_status import stored_standing
from loosh_pipeline.devnet.chain import NeuronSpec
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.domain import Uid
from loosh_pipeline.errors import ChainError
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.spec_versions import SpecVersions
from loosh_pipeline.store.submissions import Submissions
from tests.chain.bench import Bench
from tests.chain.conftest import bench_of

PROMPT = ("drop_before_submit", "drop_after_submit", "refuse_connections", "requests_limited")
POOL = ("pool_full", "outdated", "banned", "low_priority")
MUTE = ("silence", "freeze", "stale_head", "hang_after_submit")
ALONE = ("too_many_requests", "metadata_skew", "slow_blocks", "reorg")
"""Each has a test of its own."""

Strike = Callable[..., None]


def test_every_fault_is_struck_below() -> None:
    assert sorted([*PROMPT, *POOL, *MUTE, *ALONE]) == sorted(ChainFault)


@pytest.fixture
def strike(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Strike:
    return striking(bench, monkeypatch)


def striking(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Strike:
    """`strike(fault)`: once, from when weights are signed until their submission has ended."""

    def arm(*faults: str, meanwhile: Callable[[], object] = lambda: None, **options: Any) -> None:
        switches = bench.served.chain.faults
        for name, value in options.items():
            monkeypatch.setattr(switches, name, value)
        move = Submissions.move

        def move_and_strike(self: Submissions, lease: Any, row: Any, state: Any, *args: Any, **named: Any) -> Any:
            moved = move(self, lease, row, state, *args, **named)
            sending = state is SubmissionState.SENDING
            for fault in faults:
                switches.switch(ChainFault(fault), on=sending)
            if sending:
                meanwhile()
            else:
                monkeypatch.setattr(Submissions, "move", move)
            return moved

        monkeypatch.setattr(Submissions, "move", move_and_strike)

    return arm


def in_the_end(bench: Bench) -> SubmissionRow:
    """Let blocks pass, look, and try again when that is decided, as the schedules do, until weights are observed, or
    where they are sealed, committed.
    """
    for _ in range(30):
        row = bench.settle()
        if row.state is SubmissionState.OBSERVED:
            return row
        if row.state is SubmissionState.COMMITTED:
            listed = bench.served.chain.state().get("TimelockedWeightCommits", 78, 0)
            ours = [reveal_round for _, block, _, reveal_round in listed if block >= bench.first]
            assert ours == [row.reveal_round]
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


@pytest.mark.parametrize(
    ("fault", "commit_reveal"),
    [*((fault, False) for fault in PROMPT), ("drop_before_submit", True), ("drop_after_submit", True)],
)
def test_a_connection_that_breaks_while_sending_never_leads_to_two(bench: Bench, strike: Strike, fault: str) -> None:
    strike(fault)
    assert broken_off(bench).state == "unknown"
    in_the_end(bench)
    assert bench.included() == 1


@pytest.mark.parametrize("fault", POOL)
def test_what_the_pool_refuses_is_refused_and_tried_again_later(bench: Bench, strike: Strike, fault: str) -> None:
    strike(fault)
    row = bench.set_weights()
    assert isinstance(row, SubmissionRow)
    assert row.state == "refused"
    assert row.error_code
    in_the_end(bench)
    assert bench.included() == 1


def test_too_many_requests_on_the_way_back_never_lead_to_two(bench: Bench, strike: Strike) -> None:
    strike("drop_after_submit", "too_many_requests")
    assert broken_off(bench).state == "unknown"
    in_the_end(bench)
    assert bench.included() == 1


def test_metadata_of_the_runtime_before_does_not_keep_weights_from_being_set_once(bench: Bench) -> None:
    bench.chain_timeout_s = 20.0  # through processes, whose cache of metadata is as new as this test
    faults = bench.served.chain.faults
    faults.switch(ChainFault.METADATA_SKEW)
    try:
        assert isinstance(bench.set_weights(), SubmissionRow)
    finally:
        faults.switch(ChainFault.METADATA_SKEW, on=False)
    bench.chain_timeout_s = None
    in_the_end(bench)
    assert bench.included() == 1


@pytest.mark.slow
def test_blocks_slower_than_the_deadline_never_lead_to_two(
    serve_devnet: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_devnet(block_time_s=0.05, rate_limit_blocks=0) as served:
        bench = bench_of(served, None, tmp_path)
        striking(bench, monkeypatch)("slow_blocks", slow_factor=10_000)
        bench.chain_timeout_s = 3.0
        assert broken_off(bench).state == "unknown"
        bench.chain_timeout_s = None
        in_the_end(bench)
        assert bench.included() == 1


@pytest.mark.parametrize(("fault", "commit_reveal"), [*((fault, False) for fault in MUTE), ("hang_after_submit", True)])
@pytest.mark.slow
def test_a_node_that_falls_silent_while_sending_costs_the_deadline_and_nothing_else_w_10(
    bench: Bench, strike: Strike, fault: str
) -> None:
    strike(fault)
    bench.chain_timeout_s = 3.0
    assert broken_off(bench).state == "unknown"
    bench.chain_timeout_s = None
    in_the_end(bench)
    assert bench.included() == 1


@pytest.mark.parametrize("returns", [True, False])
def test_what_a_reorganisation_takes_out_comes_back_or_is_sent_again(
    bench: Bench, strike: Strike, returns: bool
) -> None:
    strike("reorg", reorg_returns=returns)
    bench.set_weights()
    in_the_end(bench)
    assert bench.included() == 1


def test_a_runtime_that_changes_under_way_is_noticed_and_weights_are_set(
    serve_devnet: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_devnet(runtime="recorded439", block_time_s=0.05, rate_limit_blocks=0) as served:
        bench = bench_of(served, None, tmp_path)
        engine = Inbox.open(bench.settings.inbox_url).engine
        before, versions = bench.snapshot(), SpecVersions(engine)
        versions.note(before.spec_version, before.taken_at)
        striking(bench, monkeypatch)(meanwhile=lambda: served.chain.upgrade("current"))
        lost = bench.set_weights()
        assert isinstance(lost, SubmissionRow)
        assert lost.state == "refused", "it was signed for the runtime before"
        row, after = in_the_end(bench), bench.snapshot()
        assert (row.state, bench.included()) == ("observed", 1)
        assert row.spec_version == after.spec_version > before.spec_version
        versions.note(after.spec_version, after.taken_at)
        told = alerts(stored_standing(bench.settings, engine, after.taken_at, subnet=after))
        assert "spec_version_changed" in [alert.code for alert in told]
        engine.dispose()


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

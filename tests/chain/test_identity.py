"""Which chain it is: what is on record of one says nothing on another, and no fallback may be of another."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.readiness import LAGGING_BLOCKS, NotYet, not_ready
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.chain_status import stored_standing
from loosh_pipeline.domain import Block, Hotkey, Mode, Proposal
from loosh_pipeline.errors import ChainError, ChainTimeout, WrongChain
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.weight_setting import Desk, review, set_weights
from tests.builders import GENESIS, metagraph, neuron, submission_row
from tests.chain.conftest import ServedChain, bench_of

OWN = Hotkey("hotkey-0")
OTHER = "0x" + "7e" * 32
FINNEY, TEST = Block(7_000_000), Block(5_900_000)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Submissions]:
    engine = Inbox.open(settings.inbox_url).engine
    yield Submissions(engine)
    engine.dispose()


def chain_at(block: Block, genesis_hash: str) -> FakeChain:
    me = neuron(0, validator_permit=True, last_update=Block(block - 1000))
    return FakeChain(metagraph((me, neuron(1)), block=block, genesis_hash=genesis_hash), OWN)


def desk_at(chain: FakeChain, ledger: Submissions) -> Desk:
    lease = Leases(ledger._engine).take(LEASE, "test", datetime.now(UTC), timedelta(minutes=5))
    return Desk(chain, ledger, lease, keep=lambda _row: None)


def once(chain: FakeChain, ledger: Submissions) -> SubmissionRow | NotYet:
    shares = {Hotkey("hotkey-1"): 1.0}
    proposal = Proposal(datetime.now(UTC), Block(1), Mode.NORMAL, "robust", "lookback", 1, shares)
    return set_weights(desk_at(chain, ledger), chain.metagraph, OWN, lambda: proposal)


def test_what_was_sent_to_one_chain_holds_nothing_up_on_another(ledger: Submissions, settings: Settings) -> None:
    finney, test = chain_at(FINNEY, GENESIS), chain_at(TEST, OTHER)
    finney.fail("sending", ChainTimeout("lost"))
    with pytest.raises(ChainTimeout):
        once(finney, ledger)
    open_there = ledger.recent(78, OWN, genesis_hash=GENESIS)
    assert [row.state for row in open_there] == ["unknown"]
    assert not_ready(test.metagraph, OWN, rows=ledger.recent(78, OWN, genesis_hash=OTHER)) is None
    assert isinstance(once(test, ledger), SubmissionRow)
    assert ledger.recent(78, OWN, genesis_hash=GENESIS) == open_there, "and it is not touched"
    standing = stored_standing(settings, ledger._engine, datetime.now(UTC), OWN, subnet=test.metagraph)
    assert [row.genesis_hash for row in standing.rows] == [OTHER]


def test_what_is_open_on_one_chain_is_not_expired_by_the_height_of_another(ledger: Submissions) -> None:
    test = chain_at(TEST, OTHER)
    test.fail("sending", ChainTimeout("lost"))
    with pytest.raises(ChainTimeout):
        once(test, ledger)
    finney = chain_at(FINNEY, GENESIS)
    with pytest.raises(WrongChain, match=f"not of {OTHER}"):
        review(desk_at(finney, ledger), ledger.recent(78, OWN))
    assert [row.state for row in ledger.recent(78, OWN)] == ["unknown"]
    assert finney.submitted == []


def test_weights_planned_on_one_chain_are_not_sent_to_another(ledger: Submissions) -> None:
    chain = chain_at(FINNEY, GENESIS)
    subnet, chain.metagraph = chain.metagraph, replace(chain.metagraph, genesis_hash=OTHER)
    proposal = Proposal(datetime.now(UTC), Block(1), Mode.NORMAL, "robust", "lookback", 1, {Hotkey("hotkey-1"): 1.0})
    with pytest.raises(WrongChain):
        set_weights(desk_at(chain, ledger), subnet, OWN, lambda: proposal)
    assert [(row.state, row.error_code) for row in ledger.recent(78, OWN)] == [("expired", "not_submitted")]
    assert chain.submitted == []


def test_what_would_die_too_late_to_have_been_signed_here_is_not_open() -> None:
    own = neuron(0, validator_permit=True)
    subnet = metagraph((own, neuron(1)), block=Block(100))
    sent = submission_row(state=SubmissionState.UNKNOWN, dies_at=Block(7_000_064))
    assert not_ready(subnet, OWN, rows=[sent]) is None, "the chain was started anew"
    behind = not_ready(subnet, OWN, rows=[replace(sent, dies_at=Block(164 + LAGGING_BLOCKS))])
    assert behind is not None
    assert behind.code == "submission_open", "the node asked now may lag behind the one that was asked then"


@pytest.fixture(scope="module")
def both(serve_devnet: Callable[..., Any]) -> Iterator[tuple[ServedChain, ServedChain]]:
    """Two networks with the same subnet and neurons, the second one much further on."""
    fields = {"block_time_s": 0.05, "rate_limit_blocks": 0}
    with serve_devnet(**fields) as first, serve_devnet(salt=b"another", **fields) as second:
        second.chain.tick(400)
        yield first, second


@pytest.fixture
def refusing() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        return f"ws://127.0.0.1:{closed_soon.getsockname()[1]}"


def test_a_fallback_of_another_network_is_neither_read_nor_written(
    both: tuple[ServedChain, ServedChain], refusing: str, tmp_path: Path
) -> None:
    first, second = both
    settings = first.settings(loosh_home=tmp_path)
    subnet = ProcessChain(settings).snapshot(78)
    assert subnet.genesis_hash == first.chain.genesis.hash != second.chain.genesis.hash
    first_gone = settings.model_copy(update={"subtensor_address": refusing, "subtensor_fallbacks": (second.endpoint,)})
    chain, own = ProcessChain(first_gone), ProcessChain(first_gone).identity()
    text = f"{second.endpoint} serves the chain with block 0 {second.chain.genesis.hash}.*of one network"
    with pytest.raises(WrongChain, match=text):
        ProcessChain(second.settings(loosh_home=tmp_path)).observe(78, own, subnet.genesis_hash)
    plan = plan_weights({subnet.neurons[2].hotkey: 1.0}, subnet, own)
    signed: list[Any] = []
    with pytest.raises(ChainError, match=text):
        chain.submit_weights(plan, signed.append, subnet.genesis_hash)
    assert signed == []
    assert second.chain.pool() == []


def test_what_the_first_endpoint_serves_is_remembered_by_other_processes(
    both: tuple[ServedChain, ServedChain], tmp_path: Path
) -> None:
    first, second = both
    settings = first.settings(loosh_home=tmp_path, subtensor_fallbacks=(second.endpoint,))
    ProcessChain(settings).snapshot(78)
    later = ProcessChain(settings)
    later._endpoints.failed(first.endpoint, datetime.now(UTC))
    assert later.snapshot(78).genesis_hash == first.chain.genesis.hash, "the fallback is refused, the first asked again"


def test_a_submission_in_doubt_survives_a_look_at_another_network_w_25(
    both: tuple[ServedChain, ServedChain], tmp_path: Path
) -> None:
    first, second = both
    bench = bench_of(first, None, tmp_path)
    assert isinstance(bench.set_weights(), SubmissionRow)
    before = bench.rows()
    bench.settings = second.settings(loosh_home=tmp_path / "loosh")
    with pytest.raises(WrongChain):
        bench.settle()
    assert bench.rows() == before
    assert isinstance(bench.set_weights(), SubmissionRow), "what is to be set there is of that network alone"
    assert {row.genesis_hash for row in bench.rows()} == {first.chain.genesis.hash, second.chain.genesis.hash}

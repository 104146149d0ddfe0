"""The adapter over the real SDK, in this process, against the served chain: every runtime, both ways to set weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, get_args

import pytest
from bittensor._transport.errors import StorageFunctionNotFound
from bittensor._transport.interface import SubstrateConnection
from bittensor_core import Keypair

from loosh_pipeline.chain.alerts import Standing, alerts
from loosh_pipeline.chain.bittensor_chain import BittensorChain
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.chain.settlement import recycled
from loosh_pipeline.chain.weights import matches, plan_weights
from loosh_pipeline.devnet.chain import NeuronSpec
from loosh_pipeline.devnet.chain.runtime import RuntimeName
from loosh_pipeline.domain import Block, Hotkey, Metagraph, Mode, Proposal, SignedExtrinsic, Uid, WeightPlan
from loosh_pipeline.errors import ChainError, ChainRefusal, NotSubmitted, StaleChain
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.weight_setting import Desk, lease_length, review, set_weights, utc_now
from tests.chain.conftest import ServedChain, bench_of

FAST = {"block_time_s": 0.05, "rate_limit_blocks": 0}


def adapter(settings: Settings, stale_after_s: float = 120.0) -> BittensorChain:
    return BittensorChain(
        settings.subtensor_address, settings.wallet_path, settings.wallet_name, settings.hotkey_name, stale_after_s
    )


@pytest.fixture(scope="module")
def served(serve_devnet: Callable[..., Any]) -> Iterator[ServedChain]:
    with serve_devnet(**FAST) as served:
        yield served


def plan_of(chain: BittensorChain) -> WeightPlan:
    subnet = chain.snapshot(78)
    return plan_weights({subnet.neurons[2].hotkey: 1 / 3, subnet.neurons[3].hotkey: 2 / 3}, subnet, chain.identity())


@pytest.mark.parametrize("runtime", get_args(RuntimeName))
@pytest.mark.parametrize("commit_reveal", [False, True])
def test_weights_are_set_on_every_runtime(
    serve_devnet: Callable[..., Any], runtime: RuntimeName, commit_reveal: bool
) -> None:
    with serve_devnet(runtime=runtime, commit_reveal=commit_reveal, **FAST) as served:
        check_both_ways(served, commit_reveal)


def check_both_ways(served: ServedChain, commit_reveal: bool) -> list[SignedExtrinsic]:
    """Set weights, and find them, or the commit to them, on the chain. Returns what was signed."""
    chain, signed = adapter(served.settings()), list[SignedExtrinsic]()
    plan = plan_of(chain)
    said = chain.submit_weights(plan, signed.append)
    assert said.success, said.error
    assert [each.hash for each in signed] == [said.extrinsic_hash]
    assert signed[0].dies_at > (said.included_block or 0)
    observed = chain.observe(78, chain.identity())
    assert observed.last_update == said.included_block
    assert said.commit_reveal == signed[0].commit_reveal == commit_reveal
    if not commit_reveal:
        assert matches(plan, observed)
        return signed
    (commit,) = observed.commits[-1:]
    assert (commit.block, commit.reveal_round) == (said.included_block, said.reveal_round)
    assert commit.epoch == observed.epoch
    return signed


@pytest.mark.parametrize("commit_reveal", [False, True])
def test_whatever_storage_the_sdk_misses_the_call_is_composed_here(
    serve_devnet: Callable[..., Any], commit_reveal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SDK 11.3 does on a runtime without SubnetEpochConsensus, for an item nobody thought of."""

    async def misses(*_args: object) -> None:
        raise StorageFunctionNotFound("SubtensorModule.SomethingNew")

    monkeypatch.setattr("bittensor.intents.weights._preflight", misses)
    with serve_devnet(commit_reveal=commit_reveal, **FAST) as served:
        (signed,) = check_both_ways(served, commit_reveal)
    assert signed.composed_here == (
        "the SDK does not know this runtime (StorageFunctionNotFound: SubtensorModule.SomethingNew)"
    )


def test_why_a_call_was_composed_here_stays_on_record_and_is_an_alert(
    served: ServedChain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def misses(*_args: object) -> None:
        raise ValueError("Type 'WeightsTlockPayload' not found in this runtime's registry")

    bench = bench_of(served, None, tmp_path)
    assert isinstance(bench.set_weights(), SubmissionRow)
    monkeypatch.setattr("bittensor.intents.weights._preflight", misses)
    assert isinstance(bench.set_weights(), SubmissionRow)
    assert bench.settle().state == "observed"
    newest, before = bench.rows()
    assert before.composed_here is None
    assert "not found in this runtime's registry" in str(newest.composed_here)
    told = alerts(Standing(utc_now(), bench.chain.identity(), bench.snapshot(), [newest, before]))
    assert "composed_here" in [alert.code for alert in told]


@pytest.mark.parametrize(
    "bug", [TypeError("unexpected keyword argument 'netuid'"), ValueError('expected an integer, got "x"'), KeyError(3)]
)
def test_a_bug_is_no_runtime_that_the_sdk_does_not_know(
    served: ServedChain, monkeypatch: pytest.MonkeyPatch, bug: Exception
) -> None:
    async def fails(*_args: object) -> None:
        raise bug

    chain, signed = adapter(served.settings()), list[SignedExtrinsic]()
    plan = plan_of(chain)
    monkeypatch.setattr("bittensor.intents.weights._preflight", fails)
    with pytest.raises(NotSubmitted, match=type(bug).__name__):
        chain.submit_weights(plan, signed.append)
    assert signed == []


def test_on_a_runtime_without_mechanisms_the_older_call_is_made(
    served: ServedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = SubstrateConnection.compose_call

    async def older(self: SubstrateConnection, call_module: str, call_function: str, *args: Any, **named: Any) -> Any:
        if "mechanism" in call_function:
            raise ValueError(f"call {call_module}.{call_function} not found")
        return await compose(self, call_module, call_function, *args, **named)

    monkeypatch.setattr(SubstrateConnection, "compose_call", older)
    check_both_ways(served, commit_reveal=False)


def test_the_slots_of_everybody_are_read(served: ServedChain) -> None:
    chain = adapter(served.settings())
    plan = plan_of(chain)
    observed = chain.observe(78, chain.identity())
    assert {uid: observed.hotkeys[uid] for uid in plan.hotkeys} == plan.hotkeys
    assert observed.registered.keys() == observed.hotkeys.keys() == set(range(6))
    assert recycled(plan, observed) == frozenset()


def test_the_owner_of_the_subnet_is_read(served: ServedChain) -> None:
    chain = adapter(served.settings())
    subnet = chain.snapshot(78)
    own = subnet.by_hotkey()[chain.identity()]
    assert (subnet.owner_hotkey, subnet.owner_coldkey) == (own.hotkey, own.coldkey)


@pytest.mark.parametrize("strange", [StorageFunctionNotFound("SubtensorModule"), None])
def test_a_runtime_that_keeps_commits_otherwise_is_read_all_the_same(
    served: ServedChain, monkeypatch: pytest.MonkeyPatch, strange: Exception | None
) -> None:
    query = SubstrateConnection.query_batch

    async def otherwise(self: SubstrateConnection, module: str, name: str, *args: Any, **named: Any) -> Any:
        if name != "TimelockedWeightCommits":
            return await query(self, module, name, *args, **named)
        if strange is not None:
            raise strange
        return [[("only", "two")]]

    chain = adapter(served.settings())
    plan = plan_of(chain)
    assert chain.submit_weights(plan).success
    monkeypatch.setattr(SubstrateConnection, "query_batch", otherwise)
    observed = chain.observe(78, chain.identity())
    assert matches(plan, observed)
    assert observed.commits is None


def test_nothing_is_sent_when_whoever_is_told_of_it_objects(served: ServedChain) -> None:
    chain = adapter(served.settings())
    plan, last = plan_of(chain), chain.observe(78, chain.identity()).last_update

    def objects(_signed: SignedExtrinsic) -> None:
        raise NotSubmitted("overtaken")

    with pytest.raises(NotSubmitted, match="overtaken"):
        chain.submit_weights(plan, objects)
    assert served.chain.pool() == []
    assert chain.observe(78, chain.identity()).last_update == last


def test_no_error_after_sending_passes_for_nothing_sent_w_25(
    served: ServedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def strange(*_args: object, **_named: object) -> object:
        return object()  # an answer of a shape that nobody foresaw

    chain = adapter(served.settings())
    plan = plan_of(chain)
    monkeypatch.setattr(SubstrateConnection, "submit_extrinsic", strange)
    with pytest.raises(ChainError, match=r"was included is unknown \(AttributeError") as caught:
        chain.submit_weights(plan)
    assert not isinstance(caught.value, NotSubmitted)


def test_a_node_whose_newest_block_is_old_is_refused_before_anything_is_signed_w_10(served: ServedChain) -> None:
    chain = adapter(served.settings(), stale_after_s=0.0)
    text = r"newest block of ws://.* is \d+ s old.*CHAIN_STALE_AFTER_S \(0\).*clock"
    with pytest.raises(StaleChain, match=text):
        chain.snapshot(78)
    with pytest.raises(StaleChain, match=text):
        chain.observe(78, Hotkey("x"))
    with pytest.raises(StaleChain, match=text):
        chain.submit_weights(WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0))


@pytest.mark.parametrize(("slow_s", "is_refused"), [(20, False), (45, True)])
def test_a_clock_that_is_slow_is_told_before_anything_is_sealed_for_a_time_that_is_past(
    served: ServedChain, monkeypatch: pytest.MonkeyPatch, slow_s: int, is_refused: bool
) -> None:
    class Slow(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(seconds=slow_s)

    monkeypatch.setattr("loosh_pipeline.chain.reads.datetime", Slow)
    chain = adapter(served.settings())
    if not is_refused:
        assert chain.snapshot(78).netuid == 78
        return
    with pytest.raises(StaleChain, match=r"is 4\d s ahead of this machine's clock; 30 at most. Set the clock by NTP"):
        chain.submit_weights(WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0))


def test_256_neurons_are_read_set_and_read_back_in_well_under_five_seconds(
    serve_devnet: Callable[..., Any],
) -> None:
    everyone = [Keypair.create_from_uri(f"//many{index}").ss58_address for index in range(250)]
    more = [NeuronSpec(each, each, ip="127.0.0.1", port=9000) for each in everyone]
    with serve_devnet(more=more, **FAST) as served:
        chain = adapter(served.settings())
        started = time.monotonic()
        subnet = chain.snapshot(78)
        shares = {neuron.hotkey: 1.0 + neuron.uid for neuron in subnet.neurons}
        plan = plan_weights(shares, subnet, chain.identity())
        assert chain.submit_weights(plan).success
        observed = chain.observe(78, chain.identity())
        took_s = time.monotonic() - started
    assert (len(subnet.neurons), len(plan.weights)) == (256, 255)
    assert matches(plan, observed)
    assert took_s < 15


def test_rate_limited_is_skipped_not_failed_w_23(serve_devnet: Callable[..., Any]) -> None:
    with serve_devnet(block_time_s=0.05, rate_limit_blocks=10_000) as served:
        settings = served.settings()
        chain = adapter(settings)
        engine = Inbox.open(settings.inbox_url).engine
        ledger = Submissions(engine)
        lease = Leases(engine).take(LEASE, "test", utc_now(), lease_length(settings))
        desk = Desk(chain, ledger, lease, keep=lambda _row: None)

        def once(subnet: Metagraph) -> SubmissionRow | NotYet:
            shares = {subnet.neurons[2].hotkey: 1.0}
            proposal = Proposal(utc_now(), subnet.block, Mode.NORMAL, "robust", "lookback", 1, shares)
            return set_weights(desk, subnet, chain.identity(), lambda: proposal)

        early = chain.snapshot(78)
        assert isinstance(once(early), SubmissionRow)
        assert review(desk, ledger.recent(78, chain.identity()))[0].state == "observed"
        said = once(chain.snapshot(78))
        assert isinstance(said, NotYet)
        assert said.code == "rate_limited"
        assert len(ledger.recent(78, chain.identity())) == 1, "a skip leaves no record"
        plan = plan_weights({early.neurons[2].hotkey: 1.0}, early, chain.identity())
        refused = chain.submit_weights(plan)
        assert (refused.error_code, refused.extrinsic_hash) == ("rate_limited", None)
        engine.dispose()


def test_a_subnet_that_does_not_exist_is_named(served: ServedChain) -> None:
    with pytest.raises(ChainRefusal, match=r"subnet 3 does not exist.*NETUID"):
        adapter(served.settings()).snapshot(3)

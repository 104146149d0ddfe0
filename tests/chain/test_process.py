"""The real SDK, in its own process, against the served chain over a socket."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.chain.messages import REQUEST, ChainRequest
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.readiness import not_ready
from loosh_pipeline.chain.wallet import WalletInfo
from loosh_pipeline.chain.weights import matches, plan_weights
from loosh_pipeline.devnet.chain.server import ClientSession
from loosh_pipeline.domain import Block, Metagraph, Uid, WeightPlan
from loosh_pipeline.errors import ChainError, ConfigError, NotSubmitted
from tests.chain.conftest import RATE_LIMIT_BLOCKS, ServedChain


def plan_of(subnet: Metagraph, own: str) -> WeightPlan:
    """A third and two thirds for the first two miners."""
    return plan_weights({subnet.neurons[2].hotkey: 1 / 3, subnet.neurons[3].hotkey: 2 / 3}, subnet, own)


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"


def test_weights_are_set_and_read_back(
    serve_devnet: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve_devnet() as served:
        settings = served.settings()
        chain: Chain = ProcessChain(settings)
        own, subnet = chain.identity(), chain.snapshot(settings.netuid)
        assert not_ready(subnet, own) is None
        plan = plan_of(subnet, own)
        submission = chain.submit_weights(plan)
        observed = chain.observe(settings.netuid, own)
        again = chain.submit_weights(plan)

    assert subnet.block_hash == served.chain.block_at(subnet.block).hash
    assert (subnet.spec_version, subnet.tempo_blocks, subnet.commit_reveal) == (461, 1000, False)
    assert subnet.weights_rate_limit_blocks == RATE_LIMIT_BLOCKS
    assert subnet.activity_cutoff_blocks == 13_889
    assert [neuron.validator_permit for neuron in subnet.neurons] == [True] + [False] * 5
    assert subnet.neurons[0].stake == 1000.0
    assert not subnet.neurons[0].serves
    assert (subnet.neurons[2].ip, subnet.neurons[2].port) == ("127.0.0.1", 9000)

    assert submission.success, submission.error
    assert submission.included_block is not None
    included = served.chain.block_at(submission.included_block)
    assert submission.extrinsic_hash in included.included
    assert matches(plan, observed)
    assert observed.last_update == submission.included_block
    assert observed.weights == {2: pytest.approx(1 / 3, abs=1e-4), 3: pytest.approx(2 / 3, abs=1e-4)}

    assert not again.success
    assert again.error_code == "rate_limited"
    assert again.extrinsic_hash is None, "nothing may be signed when the rate limit forbids it"

    assert not (tmp_path / ".bittensor").exists()
    assert list(settings.home.glob("chain/runtime-cache/*/*.bin"))


@pytest.mark.parametrize(
    ("hotkey", "code", "is_included"), [("idle", "not_authorized", True), ("outsider", "not_registered", False)]
)
def test_a_hotkey_that_may_not_set_weights_is_refused(
    devnet_chain: ServedChain, hotkeys: dict[str, WalletInfo], hotkey: str, code: str, is_included: bool
) -> None:
    chain = ProcessChain(devnet_chain.settings(hotkey_name=hotkey))
    assert chain.identity() == hotkeys[hotkey].hotkey
    submission = chain.submit_weights(WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0))
    assert not submission.success
    assert submission.error_code == code
    assert (submission.included_block is not None) == is_included


def test_commits_are_made_on_a_runtime_older_than_the_sdk(
    serve_devnet: Callable[..., Any], hotkeys: dict[str, WalletInfo]
) -> None:
    with serve_devnet(runtime="recorded", commit_reveal=True) as served:
        chain, own = ProcessChain(served.settings()), hotkeys["validator"].hotkey
        submission = chain.submit_weights(WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0))
        observed = chain.observe(78, own)
        commits = served.chain.state().get("TimelockedWeightCommits", 78, 0)
    assert submission.success, submission.error
    assert submission.commit_reveal
    assert [(commit[0], commit[3]) for commit in commits] == [(own, submission.reveal_round)]
    assert observed.weights == {}
    assert observed.last_update == submission.included_block


def test_a_connection_lost_while_submitting_leaves_the_outcome_open(
    serve_devnet: Callable[..., Any], hotkeys: dict[str, WalletInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_and_hang_up(session: ClientSession, raw: bytes) -> str:
        session._chain.submit(raw)
        session._connection.transport.abort()
        return "never heard of"

    monkeypatch.setattr(ClientSession, "watch", take_and_hang_up)
    with serve_devnet() as served:
        chain = ProcessChain(served.settings())
        plan = WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0)
        with pytest.raises(ChainError, match=r"0x[0-9a-f]{64} was included is unknown.*read last_update"):
            chain.submit_weights(plan)
        assert matches(plan, chain.observe(78, hotkeys["validator"].hotkey)), "it was included all the same"
        assert sum(len(served.chain.block_at(n).included) for n in range(served.chain.head.number)) == 1


def test_an_unknown_subnet_is_an_error(devnet_chain: ServedChain) -> None:
    with pytest.raises(ChainError, match=r"subnet 3 does not exist.*NETUID"):
        ProcessChain(devnet_chain.settings()).snapshot(3)


@pytest.mark.slow
def test_a_silent_node_costs_no_more_than_the_deadline(devnet_chain: ServedChain, silent_endpoint: str) -> None:
    chain = ProcessChain(devnet_chain.settings(subtensor_address=silent_endpoint, chain_timeout_s=3.0))
    started = time.monotonic()
    text = f"{silent_endpoint} did not answer submit_weights within 3 s.*nothing was submitted"
    with pytest.raises(NotSubmitted, match=text):
        chain.submit_weights(WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0))
    assert time.monotonic() - started < 15


def test_a_refused_connection_is_an_error(devnet_chain: ServedChain) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with pytest.raises(ChainError, match=f"127.0.0.1:{port} failed"):
        ProcessChain(devnet_chain.settings(subtensor_address=f"ws://127.0.0.1:{port}")).snapshot(78)


def test_a_missing_hotkey_is_a_config_error_from_either_process(devnet_chain: ServedChain) -> None:
    chain = ProcessChain(devnet_chain.settings(hotkey_name="nobody"))
    with pytest.raises(ConfigError, match="loosh wallet new"):
        chain.identity()
    with pytest.raises(ConfigError, match=r"hotkeys/nobody; there are .* or run `loosh wallet new`"):
        chain.submit_weights(WeightPlan(78, Block(1), {Uid(2): 1.0}, {}, 0))


def test_a_process_without_parent_ends_itself(silent_endpoint: str, tmp_path: Path) -> None:
    request = ChainRequest(silent_endpoint, tmp_path, "w", "h", deadline_s=0.2, stale_after_s=60, netuid=78)
    run = subprocess.run(
        [sys.executable, "-m", "loosh_pipeline.chain", "snapshot"],
        input=REQUEST.dump_json(request),
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert run.returncode == -signal.SIGALRM
    assert run.stdout == b""


def test_a_malformed_request_is_answered_and_an_unknown_operation_refused() -> None:
    command = [sys.executable, "-m", "loosh_pipeline.chain"]
    answered = subprocess.run([*command, "snapshot"], input=b"{}", capture_output=True, timeout=20, check=True)
    assert json.loads(answered.stdout)["error_type"] == "ValidationError"
    unknown = subprocess.run([*command, "transfer"], input=b"{}", capture_output=True, timeout=20, check=False)
    assert unknown.returncode == 2
    assert b"snapshot,submit_weights,observe,block_hash,serve_axon" in unknown.stderr

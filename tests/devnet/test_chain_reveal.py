"""Commits that are opened: with the one real pulse there is, and by the real submitter at the time of its round."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import Keypair

from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec
from loosh_pipeline.devnet.chain.commits import CommitState, journal
from loosh_pipeline.devnet.chain.extrinsics import SignedExtrinsic
from loosh_pipeline.devnet.chain.inspection import inspect_chain
from loosh_pipeline.devnet.chain.reveal import Pulse, known_pulses
from loosh_pipeline.domain import Block, Uid, WeightPlan
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.settings import Settings
from tests.chain.conftest import serve_in_thread
from tests.devnet.chain_client import IDLE, MINER, NETUID, VALIDATOR, commit_call, events, execute, new_chain, row
from tests.devnet.sealing import PULSE, ROUND, payload, seal_bytes, sealed

TEMPO = 10


def sealing_chain(**config: Any) -> DevnetChain:
    return new_chain(**({"commit_reveal": True, "tempo_blocks": TEMPO, "rate_limit_blocks": 0} | config))


def commit(chain: DevnetChain, ciphertext: bytes, keypair: Keypair = VALIDATOR, reveal_round: int = ROUND) -> None:
    call = commit_call(commit=ciphertext, reveal_round=reveal_round)
    assert execute(chain, call, keypair) == "ExtrinsicSuccess"


def to_block(chain: DevnetChain, number: int) -> None:
    chain.tick(number - chain.head.number)


def test_a_commit_becomes_weights_at_its_epoch_and_moves_last_update_once() -> None:
    chain = sealing_chain()
    chain.tick(3)
    commit(chain, sealed(uids=[0, 2], values=[200, 100]))
    to_block(chain, TEMPO - 1)
    assert row(chain) == []
    assert [record.state for record in journal(chain.state())] == [CommitState.WAITING]
    chain.tick()
    assert row(chain) == [(0, 65535), (2, 32768)]
    assert list(chain.state().get("LastUpdate", NETUID)) == [0, 4, 0], "a reveal is no update"
    assert events(chain)[:2] == [("Initialization", "WeightsSet"), ("Initialization", "TimelockedWeightsRevealed")]
    (record,) = journal(chain.state())
    assert (record.state, record.block, record.settled_block) == (CommitState.REVEALED, 4, TEMPO)
    assert chain.state().get("TimelockedWeightCommits", NETUID, 0) == []


def test_a_commit_waits_as_many_epochs_as_the_reveal_period_says() -> None:
    chain = sealing_chain(reveal_period_epochs=3)
    to_block(chain, TEMPO + 1)
    commit(chain, sealed())
    to_block(chain, 4 * TEMPO - 1)
    assert row(chain) == []
    chain.tick()
    assert row(chain) != []


def test_a_missing_pulse_is_looked_for_in_every_block_of_the_epoch_and_no_longer() -> None:
    chain, late = sealing_chain(pulses=()), sealing_chain(pulses=())
    for each in (chain, late):
        commit(each, sealed())
        to_block(each, 2 * TEMPO - 1)
        assert row(each) == []
        (waiting,) = journal(each.state())
        assert waiting.state == CommitState.WAITING
        assert waiting.why is not None
        assert "the pulse of round 1000 is not on this chain" in waiting.why
    late.tick()
    late.add_pulse(*known_pulses())
    late.tick(TEMPO)
    (expired,) = journal(late.state())
    assert (row(late), expired.state, expired.settled_block) == ([], CommitState.EXPIRED, 2 * TEMPO)
    assert expired.why == "the pulse of round 1000 did not come during epoch 1"

    chain = sealing_chain(pulses=())
    commit(chain, sealed())
    to_block(chain, TEMPO + 4)
    chain.add_pulse(*known_pulses())
    revealed_at = chain.tick()
    assert row(chain) != []
    assert [record.settled_block for record in journal(chain.state())] == [revealed_at.number]


@pytest.mark.parametrize(
    ("why", "ciphertext", "keypair", "config"),
    [
        ("hotkey mismatch", lambda: sealed(keypair=VALIDATOR), IDLE, {}),
        ("NotEnoughStakeToSetWeights", lambda: sealed(keypair=IDLE), IDLE, {"stake_threshold_tao": 10.0}),
        ("NeuronNoValidatorPermit", lambda: sealed(keypair=IDLE), IDLE, {}),
        ("IncorrectWeightVersionKey", lambda: sealed(version_key=3), VALIDATOR, {"weights_version_key": 4}),
        ("WeightVecNotEqualSize", lambda: sealed(values=[1]), VALIDATOR, {}),
        ("DuplicateUids", lambda: sealed(uids=[2, 2]), VALIDATOR, {}),
        ("UidVecContainInvalidOne", lambda: sealed(uids=[0, 9]), VALIDATOR, {}),
        ("WeightVecLengthIsLow", lambda: sealed(), VALIDATOR, {"min_allowed_weights": 3}),
        ("MaxWeightExceeded", lambda: sealed(), VALIDATOR, {"max_weights_limit": 40_000}),
        ("InvalidSignature", lambda: sealed(reveal_round=1001), VALIDATOR, {}),
        ("deserializing ciphertext", lambda: b"no ciphertext at all", VALIDATOR, {}),
        ("the sealed hotkey has 3 bytes", lambda: seal_bytes(payload(b"abc", [0], [1])), VALIDATOR, {}),
        ("bytes", lambda: seal_bytes(payload(bytes(VALIDATOR.public_key), [0], [1])[:-4]), VALIDATOR, {}),
    ],
)
def test_what_the_chain_fails_silently_at_the_page_says_why(
    why: str, ciphertext: Callable[[], bytes], keypair: Keypair, config: dict[str, Any]
) -> None:
    chain = sealing_chain(**config)
    commit(chain, ciphertext(), keypair)
    to_block(chain, TEMPO)
    assert all(row(chain, uid) == [] for uid in range(3))
    assert events(chain) == [], "nothing on the chain tells of it"
    (shown,) = inspect_chain(chain)["commits"]
    assert shown["state"] == "failed"
    assert why in shown["why"]


def test_a_commit_that_waits_costs_memory_once_not_in_every_block() -> None:
    def growth(chain: DevnetChain) -> int:
        to_block(chain, TEMPO + 1)
        before = chain.storage_entries()
        chain.tick(5)
        return chain.storage_entries() - before

    idle, waiting = sealing_chain(pulses=()), sealing_chain(pulses=())
    commit(waiting, sealed())
    assert growth(waiting) == growth(idle)


def test_one_bad_commit_does_not_keep_the_next_from_being_revealed() -> None:
    chain = sealing_chain()
    for ciphertext in (b"garbage", sealed(values=[1, 1]), sealed(values=[1, 3])):
        commit(chain, ciphertext)
    to_block(chain, TEMPO)
    assert row(chain) == [(0, 21845), (2, 65535)], "the last one counts"
    assert [record.state.value for record in journal(chain.state())] == ["failed", "revealed", "revealed"]


def test_a_hotkey_that_lost_its_uid_reveals_nothing() -> None:
    chain = sealing_chain()
    commit(chain, sealed())
    chain.replace_neuron(1, NeuronSpec(Keypair.create_from_uri("//new").ss58_address, MINER.ss58_address))
    to_block(chain, TEMPO)
    (record,) = journal(chain.state())
    assert (record.state, record.why) == (CommitState.FAILED, "SubtensorModule.HotKeyNotRegisteredInSubNet")


def test_the_owner_may_turn_commit_reveal_off_while_a_commit_waits() -> None:
    chain = sealing_chain(rate_limit_blocks=2)
    commit(chain, sealed())
    chain.set_parameters(commit_reveal=False)
    to_block(chain, TEMPO)
    assert row(chain) != []
    assert chain.state().get("LastUpdate", NETUID)[1] == TEMPO, "set like plaintext weights"


def test_only_the_signature_of_its_round_is_a_pulse() -> None:
    signature, randomness = bytes.fromhex(PULSE["signature"]), bytes.fromhex(PULSE["randomness"])
    assert Pulse(ROUND, signature, randomness) == known_pulses()[0]
    for round_number, wrong in ((ROUND + 1, signature), (ROUND, signature[::-1]), (ROUND, b"")):
        with pytest.raises(DevnetError, match=f"not the beacon's signature of round {round_number}"):
            Pulse(round_number, wrong, randomness)


class SealingAtOnce(DevnetChain):
    """Makes a block as soon as a transaction comes, so that nothing hangs on the speed of the machine."""

    def submit(self, raw: bytes) -> SignedExtrinsic:
        extrinsic = super().submit(raw)
        self.tick()
        return extrinsic


def faked_clock(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Let child processes live at this moment (UTC), which stands still; what they wait for takes its real time."""
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.submodule_search_locations is not None
    package = Path(next(iter(found.submodule_search_locations)))
    library = package / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    environment = {"LD_PRELOAD": str(library), "FAKETIME": when, "TZ": "UTC", "DONT_FAKE_MONOTONIC": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_the_real_submitter_commits_and_what_it_sealed_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = create_wallet(tmp_path, "validator", "validator")
    miners = [Keypair.create_from_uri(f"//miner{index}").ss58_address for index in range(3)]
    neurons = [
        NeuronSpec(wallet.hotkey, wallet.coldkey, stake_tao=1000.0, permit=True),
        *(NeuronSpec(miner, miner) for miner in miners),
    ]
    config = ChainConfig(block_time_s=0.0, tempo_blocks=TEMPO, commit_reveal=True, weights_version_key=7)
    chain = SealingAtOnce(config, neurons)
    when = "2023-08-23 15:59:24"
    monkeypatch.setattr(chain, "now_ms", lambda: round(datetime.fromisoformat(f"{when}+00:00").timestamp() * 1000))
    chain.tick()
    plan = WeightPlan(NETUID, Block(1), {Uid(1): 0.5, Uid(2): 0.3, Uid(3): 0.2}, {}, 7)
    with serve_in_thread(chain) as address:
        settings = Settings(
            _env_file=None,
            loosh_home=tmp_path / "home",
            netuid=NETUID,
            subtensor_address=f"ws://{address}",
            wallet_path=tmp_path,
            wallet_name="validator",
            hotkey_name="validator",
            chain_timeout_s=30.0,
        )
        validator = ProcessChain(settings)
        with monkeypatch.context() as then:
            faked_clock(then, when)
            submission = validator.submit_weights(plan)
        monkeypatch.undo()
        assert (submission.success, submission.commit_reveal, submission.reveal_round) == (True, True, ROUND)
        to_block(chain, TEMPO)
        observed = validator.observe(NETUID, wallet.hotkey)
    assert matches(plan, observed)
    assert observed.last_update == submission.included_block
    assert [commit["state"] for commit in inspect_chain(chain)["commits"]] == ["revealed"]

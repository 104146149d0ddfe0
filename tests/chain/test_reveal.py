"""Weights through a commit and its reveal: the real submitter at the time of a real drand round, and the ledger."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bittensor_core import Keypair

from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.devnet.chain import ChainConfig, DevnetChain, NeuronSpec
from loosh_pipeline.devnet.chain.extrinsics import SignedExtrinsic
from loosh_pipeline.domain import Block, Mode, Proposal
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.weight_setting import Desk, lease_length, review, set_weights
from tests.chain.conftest import serve_in_thread

ROUND = 1000
WHEN = "2023-08-23 15:59:24"
"""When the submitter seals for that round, at this tempo."""
TEMPO = 10


class SealingAtOnce(DevnetChain):
    """Makes a block as soon as a transaction comes, so that nothing hangs on the speed of the machine."""

    def submit(self, raw: bytes) -> SignedExtrinsic:
        extrinsic = super().submit(raw)
        self.tick()
        return extrinsic

    stands_at_ms: int | None = None
    """Where its clock stands still, as that of the child processes does; None: it goes."""

    def now_ms(self) -> int:
        return super().now_ms() if self.stands_at_ms is None else self.stands_at_ms


def faked_clock(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Let child processes live at this moment (UTC), which stands still."""
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.submodule_search_locations is not None
    library = Path(next(iter(found.submodule_search_locations))) / "vendor/libfaketime/src/libfaketime.so.1"
    environment = {"LD_PRELOAD": str(library), "FAKETIME": when, "TZ": "UTC", "DONT_FAKE_MONOTONIC": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("revealed", [True, False])
def test_a_commit_is_committed_until_its_epoch_and_then_observed_or_unrevealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revealed: bool
) -> None:
    wallet = create_wallet(tmp_path, "validator", "validator")
    miners = [Keypair.create_from_uri(f"//miner{index}").ss58_address for index in range(3)]
    neurons = [
        NeuronSpec(wallet.hotkey, wallet.coldkey, stake_tao=1000.0, permit=True),
        *(NeuronSpec(miner, miner) for miner in miners),
    ]
    config = ChainConfig(
        block_time_s=0.0, tempo_blocks=TEMPO, rate_limit_blocks=0, commit_reveal=True, weights_version_key=7
    )
    chain = SealingAtOnce(config, neurons)
    if revealed:
        chain.stands_at_ms = round(datetime.fromisoformat(f"{WHEN}+00:00").timestamp() * 1000)
    chain.tick()
    with serve_in_thread(chain) as address:
        settings = Settings(
            _env_file=None,
            loosh_home=tmp_path / "home",
            subtensor_address=f"ws://{address}",
            wallet_path=tmp_path,
            wallet_name="validator",
            hotkey_name="validator",
            chain_timeout_s=30.0,
        )
        validator, engine, now = ProcessChain(settings), Inbox.open(settings.inbox_url).engine, datetime.now(UTC)
        lease = Leases(engine).take(LEASE, "test", now, lease_length(settings))
        desk = Desk(validator, Submissions(engine), lease, keep=lambda _row: None)
        shares = dict(zip(miners, (0.5, 0.3, 0.2), strict=True))
        proposal = Proposal(now, Block(1), Mode.NORMAL, "robust", "lookback", 1, shares)
        with monkeypatch.context() as then:
            if revealed:
                faked_clock(then, WHEN)
            subnet = validator.snapshot(settings.netuid)
            row = set_weights(desk, subnet, wallet.hotkey, lambda: proposal)
        chain.stands_at_ms = None
        chain.tick()
        assert isinstance(row, SubmissionRow)
        assert (row.state, row.plan.version_key) == ("included", 7)
        assert (row.reveal_round == ROUND) is revealed

        committed, observed = review(desk, [row])
        assert (committed.state, committed.reveal_epoch, observed.weights) == ("committed", 1, {})
        chain.tick(TEMPO - chain.head.number)
        waiting, _ = review(desk, [committed])
        assert waiting.state == ("observed" if revealed else "committed"), waiting.reason
        chain.tick(TEMPO)
        settled, _ = review(desk, [waiting])
        assert settled.state == ("observed" if revealed else "unrevealed"), settled.reason
        engine.dispose()

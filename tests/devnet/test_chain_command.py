"""What `loosh devnet` makes of its options for the chain, and what the page of a served one shows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from dotenv import dotenv_values
from typer.testing import CliRunner

from loosh_pipeline import cli
from loosh_pipeline.chain.wallet import coldkey_of
from loosh_pipeline.devnet import subnet
from loosh_pipeline.devnet.chain import ChainConfig, ChainFault
from loosh_pipeline.devnet.chain.inspection import inspect_chain
from loosh_pipeline.devnet.subnet import DevnetConfig, DevnetInfo, serve_subnet
from tests.devnet.chain_client import NETUID, VALIDATOR, commit_call, execute, new_chain
from tests.devnet.sealing import ROUND, sealed


def test_the_options_of_the_command_reach_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DevnetConfig] = []

    async def run(config: DevnetConfig, *_: Any, **__: Any) -> None:
        seen.append(config)

    monkeypatch.setattr(subnet, "run_subnet", run)
    options = ["--tempo", "20", "--commit-reveal", "--chain-fault", "reorg", "--chain-fault", "slow_blocks"]
    assert CliRunner().invoke(cli.app, ["devnet", *options]).exit_code == 0
    assert CliRunner().invoke(cli.app, ["devnet"]).exit_code == 0
    told, default = seen
    assert (told.chain.tempo_blocks, told.chain.commit_reveal) == (20, True)
    assert told.chain_faults == (ChainFault.REORG, ChainFault.SLOW_BLOCKS)
    assert (default.chain.tempo_blocks, default.chain.commit_reveal, default.chain_faults) == (360, False, ())
    wrong = CliRunner().invoke(cli.app, ["devnet", "--chain-fault", "cold"])
    assert wrong.exit_code == 2


def test_a_validators_settings_are_written_and_an_operators_never_overwritten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = DevnetInfo(78, "ws://127.0.0.1:1", "http://127.0.0.1:2", str(tmp_path), "w", "h", VALIDATOR, (), ())

    async def run(_config: DevnetConfig, started: Any, **_: Any) -> None:
        started(info)

    monkeypatch.setattr(subnet, "run_subnet", run)
    dotenv = tmp_path / ".env"
    for _ in range(2):
        assert CliRunner().invoke(cli.app, ["devnet", "--env-file", str(dotenv)]).exit_code == 0
        assert dotenv_values(dotenv) == info.environment()
    dotenv.write_text("NETUID=78\n")
    refused = CliRunner().invoke(cli.app, ["devnet", "--env-file", str(dotenv)])
    assert (refused.exit_code, dotenv.read_text()) == (2, "NETUID=78\n")
    assert "exists, and `loosh devnet` did not write it" in refused.output


def test_a_subnet_starts_with_the_faults_of_its_chain_and_the_validator_under_its_own_coldkey(tmp_path: Path) -> None:
    config = DevnetConfig(
        wallet_path=tmp_path,
        chain=ChainConfig(block_time_s=0.0),
        miners=1,
        chain_faults=(ChainFault.STALE_HEAD, ChainFault.SILENCE),
    )

    async def run() -> Any:
        async with serve_subnet(config) as info, httpx.AsyncClient() as http:
            return (await http.get(info.chain_url.replace("ws://", "http://"))).json()

    shown = asyncio.run(run())
    assert shown["faults"] == ["silence", "stale_head"]
    assert shown["neurons"][0]["coldkey"] == coldkey_of(tmp_path, config.wallet_name)


def test_the_page_shows_all_that_the_chain_holds() -> None:
    chain = new_chain(commit_reveal=True, tempo_blocks=10, rate_limit_blocks=0, finality_lag_blocks=2)
    chain.tick(3)
    assert execute(chain, commit_call(commit=sealed())) == "ExtrinsicSuccess"
    waiting = inspect_chain(chain)
    chain.tick(7)
    shown = inspect_chain(chain)
    assert {name: shown[name] for name in ("block", "finalized_block", "epoch", "last_epoch_block")} == {
        "block": 11,
        "finalized_block": 9,
        "epoch": 1,
        "last_epoch_block": 10,
    }
    assert shown["next_epoch_block"] == 20
    assert (shown["runtime"], shown["spec_version"], shown["pulses"]) == ("current", 461, [ROUND])
    assert shown["parameters"]["commit_reveal"] is True
    assert shown["parameters"]["stake_threshold_tao"] == 0.0
    assert [commit["why"] for commit in waiting["commits"]] == ["opened in epoch 1 with the pulse of round 1000"]
    assert [(commit["state"], commit["settled_block"]) for commit in shown["commits"]] == [("revealed", 10)]
    assert [neuron["last_update"] for neuron in shown["neurons"]] == [0, 4, 0]
    assert shown["weights"] == {"1": {"0": 65535, "2": 32768}}
    assert shown["neurons"][1]["hotkey"] == VALIDATOR.ss58_address
    assert shown["netuid"] == NETUID

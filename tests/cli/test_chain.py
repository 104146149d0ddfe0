"""`loosh chain …` over a chain in memory, and over stored snapshots."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from loosh_pipeline.chain.fake import FakeChain
from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.chain_status import standing_table, stored_standing
from loosh_pipeline.cli import app
from loosh_pipeline.cli import chain as cli_chain
from loosh_pipeline.domain import Block, Hotkey, Mode, Proposal
from loosh_pipeline.errors import ChainError, ChainTimeout, ConfigError
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.frames import metagraph_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.spec_versions import SpecVersions
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.weight_setting import Desk, lease_length, set_weights
from tests.builders import metagraph, neuron


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hotkey:
    """The hotkey of a wallet that the settings name."""
    monkeypatch.setenv("WALLET_PATH", str(tmp_path / "wallets"))
    get_settings.cache_clear()
    return create_wallet(tmp_path / "wallets", "validator", "validator").hotkey


@pytest.fixture
def chain(own: Hotkey, monkeypatch: pytest.MonkeyPatch) -> FakeChain:
    me = neuron(0, hotkey=own, validator_permit=True, ip=None, port=0, stake=1500.0, last_update=Block(90))
    now = datetime.now(UTC)
    fake = FakeChain(metagraph((me, neuron(1)), taken_at=now, block_time=now, stake_threshold=1000.0), own)
    monkeypatch.setattr("loosh_pipeline.chain.process.ProcessChain", lambda _settings: fake)
    return fake


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["chain", *arguments], env={"COLUMNS": "250"})


def told() -> dict[str, Any]:
    result = run("status", "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.output)
    return answer


def test_the_status_says_how_the_validator_stands(chain: FakeChain, own: Hotkey) -> None:
    said = told()
    wanted = {
        "endpoint": "ws://127.0.0.1:9945",
        "hotkey": own,
        "block": 100,
        "registered": True,
        "uid": 0,
        "validator_permit": True,
        "stake": 1500.0,
        "stake_threshold": 1000.0,
        "last_update": 90,
        "blocks_since_update": 10,
        "activity_cutoff_blocks": 5000,
        "mode": "normal",
        "rate_limit_blocks": 5,
        "due_block": 450,
        "due_in_minutes": 70.0,
        "not_yet_code": "interval",
        "spec_version": 461,
        "submission": None,
        "chain_error": None,
    }
    assert {name: said[name] for name in wanted} == wanted
    assert [alert["code"] for alert in said["alerts"]] == ["signer_mismatch"], "the builder's coldkey is another"


def test_and_shows_it_to_people_with_what_to_do(chain: FakeChain, own: Hotkey, settings: Settings) -> None:
    engine = Inbox.open(get_settings().inbox_url).engine
    now = datetime.now(UTC)
    lease = Leases(engine).take(LEASE, "test", now, lease_length(settings))
    desk = Desk(chain, Submissions(engine), lease, keep=lambda _row: None)
    proposal = Proposal(now, Block(100), Mode.NORMAL, "robust", "lookback", 1, {Hotkey("hotkey-1"): 1.0})
    chain.refuse("not_authorized", "no permit [bold]here[/]")
    set_weights(desk, chain.metagraph, own, lambda: proposal)
    shown = run("status", "--json").output
    assert json.loads(shown)["submission"]["state"] == "refused"
    output = run("status").output
    for part in (
        "block 100",
        "spec_version 461",
        f"{own}, uid 0",
        "1500, at least 1000 is asked for",
        "block 90, 10 blocks ago (normal); the cutoff is 5000, the rate limit 5",
        "at block 450, in 70 minutes",
        "refused at block 100, 1 uids: not_authorized: no permit [bold]here[/]",
        "weights_refused",
        "tried again by itself",
        "none announced: `loosh chain serve`",
    ):
        assert part in output
    engine.dispose()


def test_soon_is_said_in_seconds_and_blocks_are_never_of_none(chain: FakeChain, own: Hotkey) -> None:
    """What is known of weights that were set since a snapshot is no news of how long blocks take."""
    settings, engine, now = get_settings(), Inbox.open(get_settings().inbox_url).engine, datetime.now(UTC)
    for block, at in ((Block(60), now - timedelta(seconds=10)), (Block(100), now)):
        seen = replace(chain.metagraph, block=block, block_time=at)
        Tables(settings.tables_root).write("metagraph", TableKey.of(f"m{block:03}", at), metagraph_frame(seen))
    assert re.search(r"at block 450, in 1\.[34]\d* minutes at 0\.25 s a block, about", run("status", "--stored").output)
    standing = stored_standing(settings, engine, now)
    assert standing.block_s == 0.25
    soon = replace(standing, block_s=0.1)
    console = Console(file=StringIO(), width=200)
    console.print(standing_table(soon, settings))
    assert "in 35 s at 0.1 s a block" in console.file.getvalue()  # type: ignore[attr-defined]
    lease = Leases(engine).take(LEASE, "test", now, lease_length(settings))
    chain.advance(900)
    proposal = Proposal(now, Block(100), Mode.NORMAL, "robust", "lookback", 1, {Hotkey("hotkey-1"): 1.0})
    set_weights(Desk(chain, Submissions(engine), lease, keep=lambda _: None), chain.metagraph, own, lambda: proposal)
    later = stored_standing(settings, engine, now)
    assert later.subnet is not None
    assert (later.subnet.block > 1000, later.block_s) == (True, 0.25)
    engine.dispose()


def test_without_the_chain_it_shows_what_was_seen_last(chain: FakeChain, own: Hotkey) -> None:
    chain.fail("snapshot", ChainTimeout("did not answer"))
    assert told()["block"] is None
    now = datetime.now(UTC)
    Tables(get_settings().tables_root).write("metagraph", TableKey.of("m", now), metagraph_frame(chain.metagraph))
    chain.fail("snapshot", ChainTimeout("did not answer"))
    said = told()
    assert (said["block"], said["chain_error"]) == (100, "did not answer")
    chain.calls.clear()
    assert "block 100" in run("status", "--stored").output
    assert chain.calls == []


def test_an_unregistered_hotkey_and_a_missing_wallet_are_told(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.metagraph = replace(chain.metagraph, neurons=chain.metagraph.neurons[1:])
    said = told()
    assert (said["registered"], said["not_yet_code"]) == (False, "not_registered")
    assert [alert["code"] for alert in said["alerts"]] == ["not_registered"]
    assert "register the hotkey with `btcli`" in run("status").output
    monkeypatch.setenv("HOTKEY_NAME", "nobody")
    get_settings.cache_clear()
    assert [alert["code"] for alert in told()["alerts"]] == ["no_hotkey"]


def test_a_new_runtime_is_acknowledged(own: Hotkey) -> None:
    versions, now = SpecVersions(Inbox.open(get_settings().inbox_url).engine), datetime.now(UTC)
    assert "there was no change" in run("acknowledge").output
    versions.note(461, now)
    versions.note(462, now)
    assert "spec_version 462 is taken as it is" in run("acknowledge").output
    assert versions.change() is None


def announced(chain: FakeChain, ip: str, port: int = 8000, **settings: Any) -> None:
    cli_chain.announce(chain, Settings(**settings), ip, port)


def test_an_address_is_announced_once(chain: FakeChain, capsys: pytest.CaptureFixture[str]) -> None:
    announced(chain, "9.9.9.9")
    assert "uid 0 served at nowhere, now at 9.9.9.9:8000 (block 101)" in " ".join(capsys.readouterr().out.split())
    announced(chain, "9.9.9.9")
    assert "serves at 9.9.9.9:8000 already; nothing to do" in capsys.readouterr().out
    assert chain.calls.count("serve_axon") == 1
    assert chain.calls.count("snapshot") == 2, "a node that lags would show the address before"
    announced(chain, "2620:fe::fe")
    assert chain.metagraph.neurons[0].ip == "2620:fe::fe"


@pytest.mark.parametrize(
    ("ip", "port", "problem"),
    [
        ("10.0.0.1", 8000, "cannot be reached from elsewhere"),
        ("127.0.0.1", 8000, "cannot be reached from elsewhere"),
        ("validator.example", 8000, "is not an IP address"),
        ("9.9.9.9", 0, "port 0 is not between"),
    ],
)
def test_an_address_that_nobody_reaches_is_refused(chain: FakeChain, ip: str, port: int, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        announced(chain, ip, port)
    assert chain.calls == []


def test_on_a_devnet_private_addresses_may_be_announced(chain: FakeChain) -> None:
    announced(chain, "127.0.0.1", allow_private_addresses=True)
    assert chain.metagraph.neurons[0].ip == "127.0.0.1"


def test_who_is_not_registered_or_refused_is_told(chain: FakeChain) -> None:
    chain.refuse("rate_limited", "ServingRateLimitExceeded")
    with pytest.raises(ChainError, match="refused the address: rate_limited: ServingRateLimitExceeded"):
        announced(chain, "9.9.9.9")
    chain.metagraph = replace(chain.metagraph, neurons=chain.metagraph.neurons[1:])
    with pytest.raises(ConfigError, match=r"is not registered on subnet 78; register it with `btcli` first"):
        announced(chain, "9.9.9.9")


def test_beside_a_submission_of_weights_nothing_is_announced(chain: FakeChain, settings: Settings) -> None:
    """Both would be signed with the same nonce."""
    engine = Inbox.open(get_settings().inbox_url).engine
    with Leases(engine).held(LEASE, "run 7", lease_length(settings), lambda: datetime.now(UTC)):
        result = run("serve", "--ip", "9.9.9.9")
    assert result.exit_code != 0
    assert "run 7 writes weights until" in result.output
    assert chain.calls == []
    assert run("serve", "--ip", "9.9.9.9").exit_code == 0
    engine.dispose()


def test_the_lease_is_longer_than_everything_done_under_it() -> None:
    usual, patient = (lease_length(Settings(_env_file=None, chain_timeout_s=s)) for s in (30.0, 150.0))
    assert usual.total_seconds() == 3 * 30 + 30 + 6 * 30 + 60
    assert patient.total_seconds() == 3 * 40 + 150 + 6 * 30 + 60


def test_for_monitoring_an_alert_is_an_exit_code(chain: FakeChain, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["--check"], ["--json", "--check"]):
        assert run("status", *arguments).exit_code == 1, "the chain knows another coldkey than the wallet has"
    assert run("status").exit_code == 0
    monkeypatch.setattr("loosh_pipeline.chain_status.coldkey_of", lambda _path, _name: None)
    assert run("status", "--check").exit_code == 0


def test_an_announcement_is_told_to_programs(chain: FakeChain) -> None:
    first, again = (json.loads(run("serve", "--ip", "9.9.9.9", "--json").stdout) for _ in range(2))
    assert first == {"uid": 0, "before": None, "now": "9.9.9.9:8000", "block": 101}
    assert again == {"uid": 0, "before": "9.9.9.9:8000", "now": "9.9.9.9:8000", "block": None}

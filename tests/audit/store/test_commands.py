"""`loosh audit list`, `export` and `verify`, on the store of a validator that set weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loosh_pipeline.audit.refusals import NOT_TRIED
from loosh_pipeline.audit.sealing import SAMPLE_BLOCKS
from loosh_pipeline.cli import app
from loosh_pipeline.errors import ChainError
from tests.audit.store.conftest import ROUNDS
from tests.world import World, newest_submission


@pytest.fixture
def world(addressed: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Commands see its hotkey and its chain."""
    monkeypatch.setattr("loosh_pipeline.audit.desk.hotkey_of", lambda *_: addressed.chain.hotkey)
    monkeypatch.setattr("loosh_pipeline.chain.wallet.load_signer", lambda *_: addressed.signer)
    monkeypatch.setattr("loosh_pipeline.chain.process.ProcessChain", lambda _: addressed.chain)
    return addressed


def audit(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["audit", *arguments], env={"COLUMNS": "200"}, prog_name="loosh")


def test_from_a_list_to_a_verdict(world: World, tmp_path: Path) -> None:
    (listed,) = json.loads(audit("list", "--json").stdout)["epochs"]
    assert (listed["epoch"], listed["rounds"], listed["challenges"], listed["state"]) == (1, ROUNDS, ROUNDS, "observed")
    assert f"{listed['root'][:16]}…" in audit("list").stdout
    file = tmp_path / "one.loosh-audit"

    early = audit("export", "--out", str(file))
    assert early.exit_code == 3
    assert f"block {listed['sample_block']}, which draws the sample, is not final" in early.stderr
    world.chain.advance(SAMPLE_BLOCKS)
    said = audit("export", "--epoch", "1", "--redact", "--out", str(file), "--json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "epoch": 1,
        "root": listed["root"],
        "level": "sample",
        "rounds": ROUNDS,
        "redacted": True,
    }

    found = audit("verify", str(file), "--root", listed["root"], "--chain", "--json")
    report = json.loads(found.stdout)
    assert (found.exit_code, report["verdict"], report["problems"]) == (0, "match", [])
    compared = {part["name"] for part in report["parts"] if part["how"] == "compared"}
    assert {"hash of the sample's block", "weights on chain"} <= compared

    for given, code, about in (
        (("--least", "sample"), 0, "match"),
        (("--least", "full"), 2, "full was asked for"),
        (("--least", "most"), NOT_TRIED, "there are rows, sample, full"),
        (("--link", f"1:{'0' * 64}"), 1, "another chain than its senders"),
        (("--link", "1:0"), NOT_TRIED, "is no link"),
        (("--block-hash", "0x12"), NOT_TRIED, "is no hash of a block"),
        (("--root", f" 0x{listed['root'].upper()} "), 0, "match"),
        (("--root", listed["root"][:16]), NOT_TRIED, "is no root of a seal"),
        (("--rooot", "1"), NOT_TRIED, "No such option"),
        (("--block-hash", "ab" * 32), 1, "drew the sample"),
    ):
        shown = audit("verify", str(file), *given)
        assert (shown.exit_code, about in shown.output) == (code, True), shown.output


def test_another_root_an_altered_file_and_no_bundle_never_end_with_0(world: World, tmp_path: Path) -> None:
    file = tmp_path / "one.loosh-audit"
    assert audit("export", "--rounds", "all", "--out", str(file)).exit_code == 0
    assert audit("verify", str(file), "--root", "ab" * 32).exit_code == 1
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert audit("verify", str(file)).exit_code in (1, 2)
    file.write_bytes(b"no bundle")
    assert audit("verify", str(file), "--chain").exit_code == 2
    assert audit("verify", str(tmp_path / "gone")).exit_code == NOT_TRIED


def test_later_weights_on_the_chain_are_no_contradiction(world: World, tmp_path: Path) -> None:
    file = tmp_path / "one.loosh-audit"
    assert audit("export", "--rounds", "none", "--out", str(file)).exit_code == 0
    world.chain.include(newest_submission(world).plan)
    found = audit("verify", str(file), "--chain")
    assert found.exit_code == 0
    assert "the chain has later weights of this validator" in found.stderr


def test_a_chain_that_cannot_be_read_is_told(world: World, tmp_path: Path) -> None:
    world.chain.fail("block_hash", ChainError("the line is down"))
    said = audit("export", "--out", str(tmp_path / "one"))
    assert (said.exit_code, "the line is down" in said.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--epoch", "7"), 1, "there is no submission 7"),
        (("--epoch", "newest"), 2, "'newest' is no epoch"),
        (("--rounds", "some"), 2, "--rounds is 'some'"),
        (("--rounds", "0"), 2, "--rounds is '0'"),
    ],
)
def test_what_cannot_be_exported_is_told(world: World, arguments: tuple[str, ...], code: int, said: str) -> None:
    shown = audit("export", *arguments)
    assert (shown.exit_code, said in shown.stderr) == (code, True), shown.stderr


def test_before_any_weights_the_list_is_empty(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loosh_pipeline.audit.desk.hotkey_of", lambda *_: "5Own")
    shown = audit("list")
    assert (shown.exit_code, shown.stdout.strip()) == (3, "no weights were set yet")
    assert json.loads(audit("list", "--json").stdout) == {"epochs": []}

"""A switch from an existing validator, end to end: its database, the command, and the weights on the chain."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.domain import Proposal
from loosh_pipeline.policy.inputs import Inputs, Presence
from loosh_pipeline.proposing import gathered
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.tables import TableKey
from resources.store import run_key
from tests.existing import build, evaluation, hotkeys
from tests.world import World, checks_of

A, B, C, D = hotkeys(4)


@pytest.fixture
def world(own_home: Path, instance: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    """Four miners whom the existing validator knew, under the settings as they are."""
    return World(instance, dict.fromkeys((A, B, C, D), "an answer"))


@pytest.fixture
def database(tmp_path: Path, world: World) -> Path:
    """It ran until an hour ago, and averaged A .8, B .4 and C .4."""
    at = world.began_at - timedelta(hours=2)
    rounds = [evaluation(at, {A: 0.8, B: 0.4, C: 0.4}), evaluation(at + timedelta(hours=1), {A: 0.8, B: 0.4})]
    return build(tmp_path / "validator.db", rounds, [A, B, C, D])


def imported(database: Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["import-validator", str(database), "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def planned(world: World) -> Proposal:
    assert world.set_weights().success
    proposal = world.store.newest_proposal()
    assert proposal is not None
    return proposal


def test_a_switch_pays_as_before_until_this_validator_knows_as_much(world: World, database: Path) -> None:
    told = imported(database)
    assert told["emissions"] == {"new": 5, "known": 0, "contradicting": 0}
    assert "asked 3 times by this validator" in told["meaning"]

    before = planned(world)  # before any round of its own
    assert (before.basis, before.rounds) == ("imported", 2)
    assert before.shares == pytest.approx({A: 0.5, B: 0.25, C: 0.25, D: 0.0})
    assert world.chain.submitted[-1].weights == pytest.approx({1: 0.5, 2: 0.25, 3: 0.25})
    (act,) = (each for each in before.acts if each.rule == "imported")
    assert told["sha256"] in act.reason

    for i in range(2):  # with few
        world.store_round(f"c-{i}", {B: True, C: True, D: True}, age=timedelta(minutes=30 - i))
    world.chain.advance(1000)
    few = planned(world)
    assert few.basis == "imported"
    assert few.shares == before.shares

    world.store_round("c-2", {B: True, C: True, D: True}, age=timedelta(minutes=20))  # after enough
    world.chain.advance(1000)
    result = world.set_weights()
    own = world.store.newest_proposal()
    assert own is not None
    assert (own.basis, own.rounds) == ("lookback", 3)
    assert own.shares == pytest.approx({B: 1 / 3, C: 1 / 3, D: 1 / 3}, rel=1e-3)
    assert all(checks_of(result).values())
    assert [act.rule for act in own.acts] == []


def test_another_process_reads_the_same_and_proposes_the_same(world: World, database: Path) -> None:
    """Nothing is kept in a process: the import may come while the validator runs."""
    assert world.set_weights(raise_on_error=False).success is False
    imported(database)
    first = planned(world)
    get_settings.cache_clear()
    world.chain.advance(1000)
    assert planned(world).shares == first.shares


def gathered_now(world: World) -> Inputs:
    settings, now = get_settings(), datetime.now(UTC)
    subnet, own = world.chain.snapshot(settings.netuid), world.chain.identity()
    return gathered(settings, world.store.tables, world.store.inbox.engine, subnet, own, now)


def set_again(world: World, basis: str, at: datetime) -> None:
    """The last weights once more, later, made of something else."""
    tables = world.store.tables
    for asset in ("weight_proposals", "weights"):
        rows = tables.latest(asset)
        assert rows is not None
        change = {"basis": basis} if asset == "weight_proposals" else {"submitted_at": at}
        rows = rows.with_columns(pl.lit(value, rows.schema[name]).alias(name) for name, value in change.items())
        tables.write(asset, TableKey.of(run_key(at, "again").name, at), rows)


def test_after_own_weights_no_later_import_and_no_emergency_brings_it_back(
    world: World, tmp_path: Path, database: Path
) -> None:
    imported(database)
    for i in range(3):
        world.store_round(f"c-{i}", {B: True, C: True, D: True}, age=timedelta(minutes=30 - i))
    assert planned(world).basis == "lookback"
    assert gathered_now(world).imported is None

    imported(build(tmp_path / "more.db", [evaluation(world.began_at, {A: 1.0})], [A]))
    assert gathered_now(world).imported is None, "one more row"
    own = gathered_now(world).last
    assert own is not None
    set_again(world, "last_vector", own.set_at + timedelta(seconds=1))
    last = gathered_now(world).last
    assert last is not None
    assert (last.basis, last.own_at) == ("last_vector", own.set_at)
    assert gathered_now(world).imported is None, "weights of an emergency"

    shutil.rmtree(Path(get_settings().tables_root) / "weight_proposals")
    assert gathered_now(world).imported is None, "nobody knows what they were made of"


def test_weights_of_an_emergency_after_imported_ones_end_nothing(world: World, database: Path) -> None:
    imported(database)
    assert planned(world).basis == "imported"
    found = gathered_now(world).last
    assert found is not None
    set_again(world, "last_vector", found.set_at + timedelta(seconds=1))
    after = gathered_now(world)
    assert after.last is not None
    assert (after.last.basis, after.last.own_at) == ("last_vector", None)
    assert after.imported is not None


def test_who_is_never_there_is_looked_for_all_the_same(world: World, database: Path) -> None:
    imported(database)
    now = datetime.now(UTC)
    for i in range(4):
        at = now - timedelta(minutes=2 * i)
        looks = pl.DataFrame(
            [(at, hotkey, hotkey != A) for hotkey in (A, B, C, D)],
            schema={"taken_at": UTC_MS, "hotkey": pl.String, "available": pl.Boolean},
            orient="row",
        )
        world.store.tables.write("miner_availability", TableKey.of(f"look-{i}", at), looks)
    found = gathered_now(world).presence
    assert found == {A: Presence(pytest.approx(0.2, abs=0.01), 4), **dict.fromkeys((B, C, D), Presence(1.0, 4))}
    assert planned(world).shares == pytest.approx({A: 1 / 6, B: 5 / 12, C: 5 / 12, D: 0.0}, abs=0.01)

"""A switch from an existing validator, end to end: its database, the command, and the weights on the chain."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.domain import Proposal
from loosh_pipeline.settings import get_settings
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

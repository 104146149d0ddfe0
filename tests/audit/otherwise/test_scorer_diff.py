"""Weights under two stored scorers, from the command line and as the asset of each epoch."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from typer.testing import CliRunner

from loosh_pipeline.audit.scorer_diff import ScorerDiff, scorer_diff
from loosh_pipeline.audit.stored_rows import scorer_named
from loosh_pipeline.cli import app
from loosh_pipeline.cli.counterfactual import hours_of
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.profiles import profile_of
from loosh_pipeline.settings import get_settings
from tests.audit.otherwise.epoch import ROUNDS, newest, score
from tests.world import MODEL_DIGEST, World, checks_of, metadata_of


def compared(world: World, a: str, b: str, hours: float = 24) -> ScorerDiff:
    tables, now = world.store.tables, datetime.now(UTC)
    first, second = (scorer_named(tables, each) for each in (a, b))
    since = now - timedelta(hours=hours)
    return scorer_diff(tables, newest(world), first, second, since, now)


def test_a_scorer_and_itself_do_not_differ(world: World) -> None:
    found = compared(world, "robust", scorer_version(RobustProfile(), MODEL_DIGEST))
    assert found.rounds == found.a_rounds == found.b_rounds == ROUNDS
    assert (found.diff.total_variation, found.missing) == (0.0, ())
    assert found.before.weights == pytest.approx(newest(world).weights)


def test_what_is_judged_otherwise_needs_no_rows_of_its_own(world: World) -> None:
    """Rows that were tried under the parameter, and those of what pays, lead to the same."""
    score(world, profile_of("robust", {"power": 3.0}))
    version = scorer_version(profile_of("robust", {"power": 3.0}), MODEL_DIGEST)
    named, stored = compared(world, "robust", "robust:power=3"), compared(world, "robust", version)
    assert named.diff.total_variation > 0
    assert named.after.weights == pytest.approx(stored.after.weights, rel=1e-9)


def test_rows_that_are_missing_are_told_with_what_makes_them(world: World) -> None:
    with pytest.raises(StoreError, match=r"--profile robust --set young_stop_weight=0\.5") as told:
        compared(world, "robust", "robust:young_stop_weight=0.5,power=3")
    assert "power" not in str(told.value).partition("loosh rescore")[2], "it acts on rows that are there"
    score(world, profile_of("robust", {"young_stop_weight": 0.5}))
    assert compared(world, "robust", "robust:young_stop_weight=0.5,power=3").rounds == ROUNDS


@pytest.mark.parametrize("said", ["best", "robust:nothing=1", "robust:power=x", "deadbeef0123"])
def test_what_is_no_scorer_is_refused(world: World, said: str) -> None:
    with pytest.raises(ConfigError):
        compared(world, "robust", said)


def test_commands_tell_the_same_as_json_and_for_people(world: World) -> None:
    shown = CliRunner().invoke(app, ["diff", "--a", "robust", "--b", "robust:power=3", "--json"])
    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert (said["rounds"], said["policy_of_epoch"]) == (ROUNDS, 1)
    assert sum(each["a"] for each in said["miners"]) == pytest.approx(1.0)
    assert sum(each["change"] for each in said["miners"]) == pytest.approx(0.0, abs=1e-9)
    told = CliRunner().invoke(app, ["diff", "--a", "robust", "--b", "robust:power=3"], env={"COLUMNS": "200"})
    assert f"{said['total_variation']:.3%}" in told.output

    shown = CliRunner().invoke(app, ["whatif", "--set", "half_life=1", "--json"])
    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert (said["exact"], said["verified"], said["how"], said["after"]["rounds"]) == (True, True, "stored", ROUNDS)
    told = CliRunner().invoke(app, ["whatif", "--set", "half_life=1"], env={"COLUMNS": "200"})
    assert told.exit_code == 0, told.output
    assert "the epoch's weights come out again, bit for bit" in told.output
    assert f"exact: {ROUNDS} rounds, from stored rows" in told.output
    first = said["miners"][0]["hotkey"]
    assert f"{first[:6]}…{first[-4:]}" in told.output

    assert (said["format"], said["changed"]["emissions"]) == ("loosh-whatif/1", {"half_life_h": 1.0})
    assert (said["before"]["basis"], said["after"]["mode"], said["submission"]["taken"]) == ("lookback", "normal", True)
    assert said["expected_vtrust"] == pytest.approx(1 - said["total_variation"])

    refused = CliRunner().invoke(app, ["whatif", "--set", "lookback=1m"], env={"COLUMNS": "200"})
    assert refused.exit_code == 1
    assert "no weights could be set" in refused.output
    assert "expected vtrust none" in refused.output
    both = CliRunner().invoke(app, ["whatif", "--set", "context_rounds=50", "--full", "--sample", "5"])
    assert both.exit_code == 2
    assert "give one of the two" in both.output


def test_a_diff_of_what_no_weights_come_of_ends_with_1(world: World) -> None:
    score(world, profile_of("robust", {"relevance_gate": 0.999}))
    shown = CliRunner().invoke(app, ["diff", "--a", "robust", "--b", "robust:relevance_gate=0.999", "--json"])
    said = json.loads(shown.stdout)
    assert (shown.exit_code, said["format"], said["expected_vtrust"]) == (1, "loosh-diff/1", None)
    assert said["b"]["refused"]


def test_lengths_of_time() -> None:
    assert (hours_of("24h"), hours_of("90m"), hours_of("1.5d")) == (24, 1.5, 36)
    for wrong in ("24", "h", "0h", "-1h", "1w"):
        with pytest.raises(ConfigError, match="no length of time"):
            hours_of(wrong)


def test_each_epoch_compares_the_shadows_and_warns_of_one_that_moves_much(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = world.set_weights("shadow_diff")
    assert metadata_of(alone, "shadow_diff")["compared"].startswith("nothing: SCORING_PROFILES names only")
    assert checks_of(alone)["shadow_moves_little"]
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    assert not checks_of(world.set_weights("shadow_diff"))["shadow_moves_little"], "nothing is stored under it yet"
    score(world, profile_of("network"), "network")
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    result = world.set_weights("shadow_diff")
    said, found = metadata_of(result, "shadow_diff"), compared(world, "robust", "network")
    assert said["network_total_variation"] == pytest.approx(found.diff.total_variation, rel=1e-6)
    assert said["network_expected_vtrust"] == pytest.approx(1 - found.diff.total_variation, rel=1e-6)
    assert (said["network_rounds"], said["epoch"], said["not_compared"]) == (ROUNDS, 1, "none")
    assert checks_of(result)["shadow_moves_little"]
    monkeypatch.setenv("SHADOW_MAX_CHANGE", "0.001")
    get_settings.cache_clear()
    warned = [each for each in world.set_weights("shadow_diff").get_asset_check_evaluations() if not each.passed]
    assert [(each.check_name, each.severity) for each in warned] == [
        ("shadow_moves_little", dg.AssetCheckSeverity.WARN)
    ]
    assert "would go to others under network" in str(warned[0].metadata["reason"].value)


def test_before_any_weights_nothing_is_compared(
    own_home: object, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    said = metadata_of(World(instance).set_weights("shadow_diff"), "shadow_diff")
    assert said["compared"].startswith("nothing: network: the chain took no weights")

"""Rounds that cannot be judged are left out of pay and named; what is lost besides changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from loosh_pipeline.domain import Block
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.score_tables import PAIRS, SCORES
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.window_cache import CACHE
from tests.world import World, failure_of, metadata_of

ROUNDS = 20
"""Of which one is as much as may be left out."""
PRESSING, EMERGENCY = 4000, 4600


def store_rounds(world: World, count: int = ROUNDS, **how: Any) -> None:
    for number in range(count):
        world.store_round(f"c-{number:02}", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": False}, **how)


def lose_pairs(world: World, count: int) -> None:
    paths = sorted(Path(world.settings.tables_root).glob(f"{PAIRS}/*/*.parquet"))
    for path in paths[:count]:
        path.unlink()


def blocks_pass(world: World, blocks: int) -> None:
    """So many since weights were last set."""
    graph = world.chain.metagraph
    own = replace(graph.neurons[0], last_update=graph.block)
    world.chain.metagraph = replace(graph, block=Block(graph.block + blocks), neurons=(own, *graph.neurons[1:]))
    world.store.save_metagraph(replace(world.chain.metagraph, taken_at=datetime.now(UTC)))


def soundness(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = (each for each in result.get_asset_check_evaluations() if each.check_name == "sound")
    return found


def left_out(world: World) -> list[tuple[Any, ...]]:
    frame = world.store.tables.latest("rounds_left_out")
    assert frame is not None
    return frame.rows()


def warnings_of(world: World, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(each.user_message for each in world.instance.all_logs(result.run_id) if each.level == 30)


def test_with_all_pairs_no_round_is_left_out(world: World) -> None:
    store_rounds(world, 2)
    result = world.set_weights("emissions")
    assert metadata_of(result, "emissions")["left_out"] == "none"
    assert left_out(world) == []
    assert soundness(result).passed


def test_a_lost_file_of_pairs_costs_its_round_and_is_named_with_what_to_do(world: World) -> None:
    store_rounds(world)
    lose_pairs(world, 1)
    result = world.set_weights()
    assert result.success
    said = metadata_of(result, "emissions")
    assert said["rounds"] == ROUNDS - 1
    assert said["left_out"].startswith(f"1 of {ROUNDS} rounds have not all pairs of their compared answers")
    assert "backfill consensus_scores for c-00 (all: rounds_left_out)" in said["left_out"]
    assert said["left_out"] in warnings_of(world, result)
    assert left_out(world) == [("c-00", ROUNDS, "normal")]
    emissions = world.store.tables.latest("emissions")
    assert emissions is not None
    assert dict(emissions.select("hotkey", "asked").rows())["hotkey-1"] == ROUNDS - 1
    assert soundness(result).passed


@pytest.mark.parametrize("lost", [2, ROUNDS])
def test_when_many_are_left_out_no_weights_are_set(world: World, lost: int) -> None:
    """Without any pairs every ring of copies would be paid in full."""
    store_rounds(world)
    lose_pairs(world, lost)
    result = world.set_weights(raise_on_error=False)
    assert not result.success
    found = soundness(result)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"{lost} of {ROUNDS} rounds" in str(found.metadata["reason"].value)
    assert "emissions: sound" in failure_of(result)
    assert world.chain.submitted == []


def test_in_need_that_only_warns(world: World) -> None:
    store_rounds(world, 3)
    lose_pairs(world, 1)
    blocks_pass(world, PRESSING)
    result = world.set_weights()
    found = soundness(result)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert left_out(world) == [("c-00", 3, "degraded")]
    assert len(world.chain.submitted) == 1


def test_in_an_emergency_copies_that_cannot_be_kept_change_no_pay(world: World) -> None:
    store_rounds(world, 3)
    blocks_pass(world, EMERGENCY)
    (Path(world.settings.tables_root) / CACHE).write_bytes(b"no directory")
    result = world.set_weights("emissions", "weight_proposal")
    assert metadata_of(result, "emissions")["mode"] == "emergency"
    proposal = world.store.newest_proposal()
    assert proposal is not None
    assert (proposal.basis, proposal.shares) == ("lookback", {"hotkey-1": 0.5, "hotkey-2": 0.5, "hotkey-3": 0.0})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Assets of which files were read."""
    assets: list[str] = []
    read = Tables.read_files

    def logged(self: Tables, asset: str, day: date, files: Sequence[str], schema: Any) -> pl.DataFrame:
        assets.extend([asset] * len(files))
        return read(self, asset, day, files, schema)

    monkeypatch.setattr(Tables, "read_files", logged)
    return assets


def test_an_emergency_reads_the_files_of_its_longest_lookback_once(world: World, opened: list[str]) -> None:
    world.store_round("c-1", {"hotkey-1": True}, age=timedelta(hours=150))
    world.store_round("c-2", {"gone": True}, age=timedelta(hours=1))
    world.store_round("c-3", {"hotkey-1": True}, age=timedelta(hours=400))
    blocks_pass(world, EMERGENCY)
    for _ in range(3):
        assert metadata_of(world.set_weights("emissions"), "emissions")["lookback_h"] == 168.0
        assert sorted(opened) == [SCORES, SCORES, PAIRS, PAIRS]


def test_what_the_network_pays_by_reads_no_pairs(
    world: World, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORING_PROFILES", "network,robust")
    monkeypatch.setenv("PAY_PROFILE", "network")
    get_settings.cache_clear()
    assert world.evaluate(world.accept("c-1")).success
    lose_pairs(world, 9)
    result = world.set_weights("emissions")
    assert metadata_of(result, "emissions")["rounds"] == 1
    assert metadata_of(result, "emissions")["left_out"] == "none"
    assert set(opened) == {SCORES}

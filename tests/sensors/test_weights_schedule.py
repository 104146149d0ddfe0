from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

import sensors.weights_schedule as schedule_module
from loosh_pipeline.domain import Block, Hotkey
from loosh_pipeline.errors import ChainError, ChainTimeout, ConfigError, StaleChain, StoreError
from loosh_pipeline.lock import SUPERVISED, validator_lock
from loosh_pipeline.moving.importing import Places, import_validator
from loosh_pipeline.settings import get_settings
from sensors.jobs import UNFINISHED_RUNS, set_weights
from sensors.weights_schedule import weights_schedule
from tests.existing import build, evaluation, hotkeys
from tests.sensors.ticks import Tick, skipped, ticked
from tests.world import World


def tick(world: World) -> Tick:
    return ticked(weights_schedule, world, chain=world.chain)


def reason(world: World) -> str:
    return skipped(tick(world))


def store_scored(world: World, challenge_id: str = "c-1", age: timedelta = timedelta(0)) -> None:
    now = datetime.now(UTC) - age
    world.store.outbox.keep_result(world.accept(challenge_id, now=now), b"{}", now)


def set_last_update(world: World, block: int) -> None:
    own, *others = world.chain.metagraph.neurons
    world.chain.metagraph = replace(world.chain.metagraph, neurons=(replace(own, last_update=Block(block)), *others))


def test_weights_that_were_never_set_are_due_once_a_round_is_scored(world: World) -> None:
    store_scored(world)
    assert isinstance(tick(world), dg.RunRequest)


def test_without_enough_rounds_none_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store_scored(world, "c-old", age=timedelta(hours=world.settings.emissions_lookback_h + 1))
    assert reason(world) == "0 rounds were scored in the last 24 h; WEIGHTS_MIN_ROUNDS is 1"

    monkeypatch.setenv("WEIGHTS_MIN_ROUNDS", "2")
    get_settings.cache_clear()
    store_scored(world)
    assert reason(world) == "1 rounds were scored in the last 24 h; WEIGHTS_MIN_ROUNDS is 2"


def imported(world: World, database: Path, age_h: float, paid: dict[str, float]) -> None:
    """By an existing validator that evaluated once, so many hours ago."""
    now = datetime.now(UTC)
    places = Places(world.settings.tables_root, world.settings.users_url)
    import_validator(build(database, [evaluation(now - timedelta(hours=age_h), paid)]), None, places, now)


def test_with_an_existing_validators_rows_none_is_waited_for(world: World, tmp_path: Path) -> None:
    (miner,) = hotkeys(1)
    own, first, *others = world.chain.metagraph.neurons
    neurons = (own, replace(first, hotkey=Hotkey(miner)), *others)
    world.chain.metagraph = replace(world.chain.metagraph, neurons=neurons)
    imported(world, tmp_path / "old.db", 25, {miner: 0.5})
    assert "0 rounds were scored" in reason(world)
    imported(world, tmp_path / "new.db", 23, {miner: 0.5})
    assert isinstance(tick(world), dg.RunRequest)


@pytest.mark.parametrize("emission", [0.0, 0.5])
def test_rows_that_pay_nobody_who_is_there_switch_no_minimum_off(
    world: World, tmp_path: Path, emission: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTS_MIN_ROUNDS", "2")
    get_settings.cache_clear()
    imported(world, tmp_path / "old.db", 1, dict.fromkeys(hotkeys(2), emission))
    assert reason(world) == "0 rounds were scored in the last 24 h; WEIGHTS_MIN_ROUNDS is 2"
    store_scored(world)
    assert "1 rounds were scored" in reason(world)
    store_scored(world, "c-2")
    assert isinstance(tick(world), dg.RunRequest)


def test_rows_of_which_nothing_can_be_made_leave_the_tick_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the newest emissions are of release 1.3.0")

    imported(world, tmp_path / "old.db", 1, dict.fromkeys(hotkeys(2), 0.5))
    monkeypatch.setattr(schedule_module, "gathered", broken)
    assert "no weights can be made: the newest emissions are of release 1.3.0" in reason(world)


def test_near_the_cutoff_no_round_is_waited_for_w_24(world: World) -> None:
    world.chain.advance(5000)
    set_last_update(world, 100)
    assert isinstance(tick(world), dg.RunRequest)


def test_within_the_interval_it_says_at_which_block_they_are_due(world: World) -> None:
    store_scored(world)
    set_last_update(world, 60)
    assert reason(world) == (
        "weights were set at block 60, 40 blocks before block 100; "
        "the interval is 360 blocks, so they are due at block 420"
    )
    world.chain.advance(319)
    assert "due at block 420" in reason(world)
    world.chain.advance(1)
    assert isinstance(tick(world), dg.RunRequest)


def test_the_chains_rate_limit_rules_when_it_is_longer(world: World) -> None:
    store_scored(world)
    set_last_update(world, 99)
    world.chain.metagraph = replace(world.chain.metagraph, weights_rate_limit_blocks=1000)
    assert "the chain's rate limit is 1000 blocks, so they are due at block 1099" in reason(world)


def test_an_unregistered_validator_is_told_so(world: World) -> None:
    store_scored(world)
    world.chain.metagraph = replace(world.chain.metagraph, neurons=world.chain.metagraph.neurons[1:])
    assert reason(world) == f"{world.chain.hotkey} is not registered on subnet 78 at block 100"


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("snapshot", ChainTimeout("ws://127.0.0.1:9 did not answer snapshot within 40 s")),
        ("snapshot", StaleChain("the newest block is 512 s old")),
        ("identity", ConfigError("there is no hotkey file")),
    ],
)
def test_a_tick_that_cannot_read_the_chain_says_so_and_no_more_w_10(
    world: World, operation: str, error: Exception
) -> None:
    store_scored(world)
    world.chain.fail(operation, error)
    assert reason(world) == f"the chain could not be read: {error}"
    assert isinstance(tick(world), dg.RunRequest), "the next tick reads it again"


def test_after_a_failure_the_next_try_is_minutes_away_by_block_height_w_23(world: World) -> None:
    """Not 72 minutes, not by a timer that a restart resets, and not taken for a success."""
    store_scored(world)
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.refuse("not_authorized", "no permit")
    world.set_weights(raise_on_error=False)
    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)
    assert "1 in a row; the next follows at block 110 (now 100)" in reason(world)
    world.chain.advance(10)
    assert isinstance(tick(world), dg.RunRequest)


def test_while_a_submission_may_still_land_nothing_else_is_sent(world: World) -> None:
    store_scored(world)
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("lost"))
    world.set_weights(raise_on_error=False)
    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)
    assert "nothing else is submitted until then" in reason(world)
    world.chain.metagraph = replace(world.chain.metagraph, genesis_hash="0x" + "7e" * 32)
    assert isinstance(tick(world), dg.RunRequest), "another chain has its own"


@pytest.mark.parametrize("status", UNFINISHED_RUNS)
def test_one_run_sets_weights_at_a_time(world: World, status: dg.DagsterRunStatus) -> None:
    store_scored(world)
    run = world.add_run(set_weights.name, status)
    assert reason(world).startswith(f"run {run.run_id} is under way, requested at ")
    world.instance.delete_run(run.run_id)
    world.add_run(set_weights.name, dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(world), dg.RunRequest)


def test_what_failed_a_moment_ago_is_not_tried_at_every_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store_scored(world)
    run = world.add_run(set_weights.name, dg.DagsterRunStatus.FAILURE)
    assert reason(world).startswith(f"run {run.run_id} failed; the next follows 0:06:00 after it, at ")
    monkeypatch.setattr(schedule_module, "PAUSE_AFTER_FAILURE", timedelta(0))
    assert isinstance(tick(world), dg.RunRequest)


def test_a_second_dagster_beside_a_running_validator_only_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store_scored(world)
    with validator_lock(world.settings.home):
        assert "only looks" in reason(world)
        monkeypatch.setenv(SUPERVISED, "1")
        assert isinstance(tick(world), dg.RunRequest)

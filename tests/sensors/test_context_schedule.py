"""Word weights and background are taken again when that is worth a run, and every tick says why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

import sensors.context_schedule as schedule_module
from loosh_pipeline.lock import SUPERVISED, validator_lock
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.settings import get_settings
from sensors.context_schedule import context_schedule
from sensors.jobs import UNFINISHED_RUNS, refresh_context
from tests.sensors.ticks import Tick, skipped, ticked
from tests.world import MODEL_DIGEST, World

ENOUGH = int(RobustProfile().context_rounds)


def tick(world: World) -> Tick:
    return ticked(context_schedule, world)


def reason(world: World) -> str:
    return skipped(tick(world))


def store_scored(world: World, count: int, age: timedelta = timedelta(0), name: str = "c") -> None:
    now = datetime.now(UTC) - age
    for number in range(count):
        world.store.outbox.keep_result(world.accept(f"{name}-{number}", now=now), b"{}", now)


def store_context(world: World, rounds: int, age: timedelta) -> None:
    built_at = datetime.now(UTC) - age
    world.store.score_tables.write_context(ScoringContext.of(rounds, {}, None), MODEL_DIGEST, built_at, "run-1")


def test_the_first_waits_for_enough_rounds_of_the_last_days(world: World) -> None:
    store_scored(world, 3, schedule_module.FIRST_LOOKBACK + timedelta(hours=1), "old")
    store_scored(world, ENOUGH - 1)
    assert reason(world) == f"{ENOUGH - 1} rounds are scored; a context is taken from {ENOUGH} on"
    store_scored(world, 1, name="last")
    assert isinstance(tick(world), dg.RunRequest)


def test_a_recent_one_stays_and_the_reason_says_how_old_it_is(world: World) -> None:
    store_context(world, 30, timedelta(hours=3))
    store_scored(world, 29)
    assert reason(world).startswith("the context of 30 rounds is 3.0 h old, 29 rounds since")


def test_an_old_one_is_taken_again_once_a_round_has_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store_context(world, 500, timedelta(hours=6.1))
    assert reason(world).startswith("the context of 500 rounds is 6.1 h old, 0 rounds since")
    store_scored(world, 1)
    assert isinstance(tick(world), dg.RunRequest)

    monkeypatch.setenv("CONTEXT_REFRESH_H", "7")
    get_settings.cache_clear()
    assert reason(world).startswith("the context of 500 rounds is 6.1 h old, 1 rounds since")


def test_one_of_twice_as_many_rounds_is_taken_at_once(world: World) -> None:
    store_context(world, 20, timedelta(minutes=30))
    store_scored(world, 19)
    assert "19 rounds since" in reason(world)
    store_scored(world, 1, name="last")
    assert isinstance(tick(world), dg.RunRequest)


def test_rounds_from_before_it_are_not_counted(world: World) -> None:
    store_context(world, 20, timedelta(hours=7))
    store_scored(world, 40, timedelta(hours=8))
    assert "0 rounds since" in reason(world)


@pytest.mark.parametrize("status", UNFINISHED_RUNS)
def test_one_run_takes_it_at_a_time(world: World, status: dg.DagsterRunStatus) -> None:
    store_scored(world, ENOUGH)
    run = world.add_run(refresh_context.name, status)
    assert reason(world).startswith(f"run {run.run_id} is under way")
    world.instance.delete_run(run.run_id)
    world.add_run(refresh_context.name, dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(world), dg.RunRequest)


def test_what_failed_a_moment_ago_is_not_tried_at_every_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store_scored(world, ENOUGH)
    run = world.add_run(refresh_context.name, dg.DagsterRunStatus.FAILURE)
    assert reason(world).startswith(f"run {run.run_id} failed; the next follows 1:00:00 after it")
    monkeypatch.setattr(schedule_module, "PAUSE_AFTER_FAILURE", timedelta(0))
    assert isinstance(tick(world), dg.RunRequest)


def test_a_second_dagster_beside_a_running_validator_only_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store_scored(world, ENOUGH)
    with validator_lock(world.settings.home):
        assert "only looks" in reason(world)
        monkeypatch.setenv(SUPERVISED, "1")
        assert isinstance(tick(world), dg.RunRequest)

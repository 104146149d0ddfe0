"""Miners are looked for again when that was long ago, and every tick says why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

import sensors.availability_schedule as schedule_module
from loosh_pipeline.domain import Availability, AvailabilityTable, Hotkey, Uid
from loosh_pipeline.lock import SUPERVISED, validator_lock
from sensors.availability_schedule import availability_schedule
from sensors.jobs import UNFINISHED_RUNS, refresh_availability
from tests.sensors.ticks import Tick, skipped, ticked
from tests.world import World


def tick(world: World) -> Tick:
    return ticked(availability_schedule, world)


def reason(world: World) -> str:
    return skipped(tick(world))


def save_metagraph(world: World) -> None:
    world.store.save_metagraph(world.chain.metagraph)


def look(world: World, age_s: float) -> None:
    row = Availability(Hotkey("hotkey-1"), Uid(1), "127.0.0.1", 9001, True, "", 1.0)
    world.store.save_availability(AvailabilityTable(datetime.now(UTC) - timedelta(seconds=age_s), (row,)))


def test_without_anyone_to_look_for_it_says_so(world: World) -> None:
    assert reason(world) == "there is no metagraph yet that says where miners are"
    alone = world.chain.metagraph.neurons[:1]
    world.store.save_metagraph(replace(world.chain.metagraph, neurons=alone))
    assert reason(world) == "nobody serves on subnet 78 at block 100"


def test_the_first_look_is_at_once_and_the_next_when_it_is_old(world: World) -> None:
    save_metagraph(world)
    assert isinstance(tick(world), dg.RunRequest)
    look(world, world.settings.availability_refresh_s - 10)
    assert reason(world).startswith("1 neurons were looked for 110 s ago; that is done every ")
    look(world, -1)
    assert "were looked for -1 s ago" in reason(world)


def test_an_old_look_is_followed_by_another(world: World) -> None:
    save_metagraph(world)
    look(world, world.settings.availability_refresh_s + 1)
    assert isinstance(tick(world), dg.RunRequest)


@pytest.mark.parametrize("status", UNFINISHED_RUNS)
def test_one_run_looks_at_a_time(world: World, status: dg.DagsterRunStatus) -> None:
    save_metagraph(world)
    run = world.add_run(refresh_availability.name, status)
    assert reason(world).startswith(f"run {run.run_id} is under way")
    world.instance.delete_run(run.run_id)
    world.add_run(refresh_availability.name, dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(world), dg.RunRequest)


def test_w_28_a_failed_look_is_told_and_followed_by_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    save_metagraph(world)
    run = world.add_run(refresh_availability.name, dg.DagsterRunStatus.FAILURE)
    assert reason(world).startswith(f"run {run.run_id} failed; the next follows 0:05:00 after it")
    monkeypatch.setattr(schedule_module, "PAUSE_AFTER_FAILURE", timedelta(0))
    assert isinstance(tick(world), dg.RunRequest)


def test_a_second_dagster_beside_a_running_validator_only_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    save_metagraph(world)
    with validator_lock(world.settings.home):
        assert "only looks" in reason(world)
        monkeypatch.setenv(SUPERVISED, "1")
        assert isinstance(tick(world), dg.RunRequest)

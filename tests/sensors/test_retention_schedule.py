"""History is pruned once a day, and on until nothing is left; every tick says why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

import sensors.jobs as jobs_module
import sensors.retention_schedule as schedule_module
from loosh_pipeline.lock import SUPERVISED, validator_lock
from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.settings import get_settings
from sensors.jobs import held_up, retention
from sensors.retention_schedule import retention_schedule
from tests.sensors.ticks import Tick, skipped, ticked
from tests.world import World

STEP = dg.AssetKey("pruned_history")


@pytest.fixture(autouse=True)
def nothing_done(instance: dg.DagsterInstance) -> Iterator[None]:
    yield
    instance.wipe_assets([STEP])


def tick(world: World) -> Tick:
    return ticked(retention_schedule, world)


def done(world: World, *, finished: bool = True) -> None:
    world.instance.report_runless_asset_event(dg.AssetMaterialization(STEP, metadata={"finished": finished}))


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment

    monkeypatch.setattr(schedule_module, "datetime", Clock)


def test_it_is_due_at_once_and_then_once_a_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(tick(world), dg.RunRequest)
    done(world)
    assert skipped(tick(world)).startswith("it was done at ")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(hour=3, minute=0, second=0, microsecond=0)
    at(monkeypatch, tomorrow - timedelta(seconds=1))
    expected = datetime.now(UTC).hour < 3
    assert isinstance(tick(world), dg.RunRequest) is expected
    at(monkeypatch, tomorrow)
    assert isinstance(tick(world), dg.RunRequest)


def test_it_goes_on_while_something_is_left(world: World) -> None:
    done(world)
    done(world, finished=False)
    assert isinstance(tick(world), dg.RunRequest)


def test_it_does_not_wait_for_the_night_when_there_are_many_too_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETAIN_CHALLENGES", "100")
    get_settings.cache_clear()
    done(world)
    world.instance.add_dynamic_partitions(CHALLENGES, [f"many-{number}" for number in range(111)])
    assert skipped(tick(world)).startswith("it was done at "), "not twice within the hour"
    at(monkeypatch, datetime.now(UTC) + timedelta(minutes=61))
    assert isinstance(tick(world), dg.RunRequest)


def test_one_is_under_way_or_has_just_failed(world: World) -> None:
    run = world.add_run(retention.name, dg.DagsterRunStatus.STARTED)
    assert skipped(tick(world)).startswith(f"run {run.run_id} is under way")
    world.instance.delete_run(run.run_id)
    run = world.add_run(retention.name, dg.DagsterRunStatus.FAILURE)
    assert skipped(tick(world)).startswith(f"run {run.run_id} failed")


def test_a_clock_that_was_set_back_holds_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done(world)
    at(monkeypatch, datetime.now(UTC) - timedelta(days=30))
    assert isinstance(tick(world), dg.RunRequest)
    run = world.add_run(retention.name, dg.DagsterRunStatus.FAILURE)
    assert (held_up(world.instance, retention.name, timedelta(hours=1)) or "").startswith(f"run {run.run_id} failed")
    monkeypatch.setattr(jobs_module, "datetime", schedule_module.datetime)
    assert held_up(world.instance, retention.name, timedelta(hours=1)) is None
    world.instance.delete_run(run.run_id)


def test_it_only_looks_while_a_validator_runs_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUPERVISED, raising=False)
    with validator_lock(get_settings().home, lambda _: None):
        assert "only looks" in skipped(tick(world))

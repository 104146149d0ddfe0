from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

import sensors.metagraph_sensor as metagraph_sensor_module
from sensors.jobs import refresh_metagraph
from sensors.metagraph_sensor import metagraph_sensor
from tests.world import World


def tick(world: World) -> dg.RunRequest | dg.SkipReason:
    with dg.build_sensor_context(instance=world.instance, resources={"store": world.store}) as context:
        result = metagraph_sensor(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def save_snapshot(world: World, age_s: float) -> None:
    taken_at = datetime.now(UTC) - timedelta(seconds=age_s)
    world.store.save_metagraph(replace(world.chain.metagraph, taken_at=taken_at))


def test_without_a_snapshot_one_is_taken(world: World) -> None:
    assert isinstance(tick(world), dg.RunRequest)


def test_a_recent_snapshot_is_enough_and_its_age_is_told(world: World) -> None:
    save_snapshot(world, world.settings.metagraph_refresh_s - 10)
    result = tick(world)
    assert isinstance(result, dg.SkipReason)
    assert (
        result.skip_message
        == "the snapshot of block 100 is 290 s old; the next is taken at 300 s (METAGRAPH_REFRESH_S)"
    )


def test_an_old_snapshot_is_followed_by_another(world: World) -> None:
    save_snapshot(world, world.settings.metagraph_refresh_s + 1)
    assert isinstance(tick(world), dg.RunRequest)


def test_only_one_run_takes_it_at_a_time(world: World) -> None:
    run = world.add_run(refresh_metagraph.name, dg.DagsterRunStatus.STARTED)
    result = tick(world)
    assert isinstance(result, dg.SkipReason)
    assert run.run_id in (result.skip_message or "")
    world.instance.delete_run(run.run_id)
    assert isinstance(tick(world), dg.RunRequest)


def test_after_a_failure_it_waits_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.add_run(refresh_metagraph.name, dg.DagsterRunStatus.FAILURE)
    result = tick(world)
    assert isinstance(result, dg.SkipReason)
    assert run.run_id in (result.skip_message or "")
    monkeypatch.setattr(metagraph_sensor_module, "PAUSE_AFTER_FAILURE", timedelta(0))
    assert isinstance(tick(world), dg.RunRequest)

"""The Challenge API is asked about hotkeys now and then, and every tick says why not."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

import sensors.network_view_schedule as schedule_module
from loosh_pipeline.lock import SUPERVISED, validator_lock
from loosh_pipeline.settings import get_settings
from sensors.jobs import UNFINISHED_RUNS, refresh_network_view
from sensors.network_view_schedule import network_view_schedule
from tests.sensors.ticks import Tick, skipped, ticked
from tests.world import World


@pytest.fixture
def seen(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with an API to ask, and a metagraph."""
    monkeypatch.setenv("CHALLENGE_API_URL", "http://127.0.0.1:9")
    get_settings.cache_clear()
    world.store.save_metagraph(world.chain.metagraph)
    return world


def tick(world: World) -> Tick:
    return ticked(network_view_schedule, world)


def reason(world: World) -> str:
    return skipped(tick(world))


def test_the_first_waits_for_a_metagraph_and_an_api(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(world) == "CHALLENGE_API_URL is not set, so nobody can be asked"
    monkeypatch.setenv("CHALLENGE_API_URL", "http://127.0.0.1:9")
    get_settings.cache_clear()
    assert reason(world) == "no metagraph is stored yet, so nobody is known to be asked about"
    world.store.save_metagraph(world.chain.metagraph)
    assert isinstance(tick(world), dg.RunRequest)


@pytest.mark.parametrize("status", UNFINISHED_RUNS)
def test_one_run_asks_at_a_time(seen: World, status: dg.DagsterRunStatus) -> None:
    run = seen.add_run(refresh_network_view.name, status)
    assert reason(seen).startswith(f"run {run.run_id} is under way")


def test_what_was_asked_a_moment_ago_is_recent(seen: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = seen.add_run(refresh_network_view.name, dg.DagsterRunStatus.SUCCESS)
    assert reason(seen).startswith(f"run {run.run_id} asked 0 s ago")
    monkeypatch.setattr(schedule_module, "HALF_A_TICK", timedelta(seconds=300))
    assert isinstance(tick(seen), dg.RunRequest)


def test_what_failed_a_moment_ago_is_not_tried_at_every_tick(seen: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = seen.add_run(refresh_network_view.name, dg.DagsterRunStatus.FAILURE)
    assert reason(seen).startswith(f"run {run.run_id} failed; the next follows 0:10:00 after it")
    monkeypatch.setattr(schedule_module, "PAUSE_AFTER_FAILURE", timedelta(0))
    monkeypatch.setattr(schedule_module, "HALF_A_TICK", timedelta(seconds=300))
    assert isinstance(tick(seen), dg.RunRequest)


def test_a_second_dagster_beside_a_running_validator_only_looks(seen: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with validator_lock(seen.settings.home):
        assert "only looks" in reason(seen)
        monkeypatch.setenv(SUPERVISED, "1")
        assert isinstance(tick(seen), dg.RunRequest)

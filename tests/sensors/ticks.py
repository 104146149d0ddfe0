"""Ticks of schedules, and why they ask for no run."""

from __future__ import annotations

from typing import Any

import dagster as dg

from tests.world import World

Tick = dg.RunRequest | dg.SkipReason


def ticked(schedule: dg.ScheduleDefinition, world: World, **resources: Any) -> Tick:
    """What a schedule asks for in this world, with its store and the given resources."""
    given = {"store": world.store, **resources}
    with dg.build_schedule_context(instance=world.instance, resources=given) as context:
        result = schedule(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def skipped(result: Tick) -> str:
    """Why a tick asks for no run."""
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""

"""Sensors and schedules whose last tick is yet to come tick again at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorData,
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)

from loosh_pipeline.clock_set_back import put_right
from loosh_pipeline.settings import Settings

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
AHEAD_S = (NOW + timedelta(hours=1)).timestamp()


def state(name: str, kind: InstigatorType, data: InstigatorData) -> InstigatorState:
    place = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="localhost", port=1), "__repository__")
    return InstigatorState(RemoteInstigatorOrigin(place, name), kind, InstigatorStatus.RUNNING, data)


def remember(instance: dg.DagsterInstance, state: InstigatorState, at_s: float) -> None:
    instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            state.instigator_name,
            state.instigator_type,
            TickStatus.SKIPPED,
            at_s,
            selector_id=state.selector_id,
        )
    )


def test_what_dagster_remembers_of_a_time_to_come_is_now(settings: Settings, tmp_path: Path) -> None:
    now_s = NOW.timestamp()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        sensor = state("s", InstigatorType.SENSOR, SensorInstigatorData(AHEAD_S, "key", 5, None, AHEAD_S, now_s - 9))
        schedule = state("c", InstigatorType.SCHEDULE, ScheduleInstigatorData("* * * * *", now_s - 9, AHEAD_S))
        for each in (sensor, schedule):
            remember(instance, each, AHEAD_S)
        assert put_right(settings, instance, NOW) == 4
        assert put_right(settings, instance, NOW) == 0
        kept = {each.instigator_name: each.instigator_data for each in instance.all_instigator_state()}
        assert kept["s"] == SensorInstigatorData(now_s, "key", 5, None, now_s, now_s - 9)
        assert kept["c"] == ScheduleInstigatorData("* * * * *", now_s - 9, now_s)
        for each in (sensor, schedule):
            (tick,) = instance.get_ticks(each.instigator_origin_id, each.selector_id)
            assert tick.timestamp == now_s

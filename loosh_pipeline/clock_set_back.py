"""Putting right what is dated later than now, after the clock was set back: `python -m loosh_pipeline.clock_set_back`.

Retries, leases, and the ticks of Dagster's sensors and schedules are put off to a time of day. When a clock that was
wrong by an hour is put right, all of them would wait for that hour. Dagster's daemon remembers times too: it must not
run meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData, SensorInstigatorData
from sqlalchemy import Engine, func, select

from loosh_pipeline.logs import configure
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.clock import pull_back, remove_later_looks
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.weight_setting import lease_length

logger = logging.getLogger(__name__)

CLOCKS_AGREE_WITHIN = timedelta(seconds=10)

TIMES: Mapping[type, tuple[str, ...]] = {
    SensorInstigatorData: (
        "last_tick_timestamp",
        "last_tick_start_timestamp",
        "last_sensor_start_timestamp",
        "last_tick_success_timestamp",
    ),
    ScheduleInstigatorData: ("start_timestamp", "last_iteration_timestamp"),
}
"""What Dagster remembers of a sensor or schedule, in seconds since 1970."""


def put_right(settings: Settings, instance: DagsterInstance | None, now: datetime) -> int:
    """Let nothing of this validator wait for a time that is yet to come; returns how much was changed.

    `instance`: None where Dagster runs on another machine, by that one's clock.
    """
    inbox = Inbox.open(settings.inbox_url)
    try:
        changed = _put_shared_right(settings, inbox.engine, now)
    finally:
        inbox.engine.dispose()
    if instance is None:
        return changed
    return changed + sum(_pull_back(instance, state, now.timestamp()) for state in instance.all_instigator_state())


def _put_shared_right(settings: Settings, engine: Engine, now: datetime) -> int:
    """What other machines use too is put right only where their database has the same time: else it is this clock
    that is wrong.
    """
    if settings.spread:
        with reading(engine) as connection:
            theirs: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        if (behind := theirs - now) > CLOCKS_AGREE_WITHIN:
            logger.error(
                "this machine's clock is %.0f s behind the database's; what all machines share is left alone. Set the "
                "clock right (`timedatectl`)",
                behind.total_seconds(),
            )
            return 0
        now = theirs
    return pull_back(engine, now, lease_length(settings)) + remove_later_looks(Tables(settings.tables_root), now)


def _pull_back(instance: DagsterInstance, state: InstigatorState, now_s: float) -> int:
    """A sensor or schedule whose last tick is yet to come would not tick before."""
    data: Any = state.instigator_data
    times = {name: getattr(data, name) for name in TIMES.get(type(data), ())}
    later = {name: now_s for name, at_s in times.items() if at_s is not None and at_s > now_s}
    if later:
        instance.update_instigator_state(state.with_data(data._replace(**later)))
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=now_s)
    for tick in ticks:
        instance.update_tick(tick._replace(tick_data=tick.tick_data._replace(timestamp=now_s)))
    return len(ticks) + bool(later)


def main() -> None:
    configure(settings := get_settings(), "clock")
    here = settings.runs_here("dagster-daemon")
    with DagsterInstance.get() if here else nullcontext() as instance:
        if changed := put_right(settings, instance, datetime.now(UTC)):
            logger.warning("the clock was set back: %d times that are yet to come count as now", changed)


if __name__ == "__main__":
    main()

"""Keeps the stored metagraph recent."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.settings import get_settings
from resources.store import Store
from sensors.jobs import BY_SENSOR, held_up, refresh_metagraph

PAUSE_AFTER_FAILURE = timedelta(seconds=60)
"""A chain that is away for hours must not fill the history with failed runs."""


@dg.sensor(
    job=refresh_metagraph,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Every 15 s: takes a snapshot of the subnet when the stored one is older than METAGRAPH_REFRESH_S. Stopped, "
        "challenges go to who was registered last, until a run looks itself."
    ),
)
def metagraph_sensor(
    context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    now = datetime.now(UTC)
    newest = store.newest_metagraph()
    refresh = timedelta(seconds=get_settings().metagraph_refresh_s)
    if newest is not None and now - newest.taken_at < refresh:
        age_s = (now - newest.taken_at).total_seconds()
        return dg.SkipReason(
            f"the snapshot of block {newest.block} is {age_s:.0f} s old; the next is taken at "
            f"{refresh.total_seconds():g} s (METAGRAPH_REFRESH_S)"
        )
    if reason := held_up(context.instance, refresh_metagraph.name, PAUSE_AFTER_FAILURE):
        return dg.SkipReason(reason)
    return dg.RunRequest(tags=BY_SENSOR)

"""Keeps the stored metagraph recent."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.settings import get_settings
from resources.store import Store
from sensors.jobs import UNFINISHED_RUNS, refresh_metagraph


@dg.sensor(
    job=refresh_metagraph,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes a snapshot of the subnet when the stored one is older than METAGRAPH_REFRESH_S.",
)
def metagraph_sensor(
    context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
) -> dg.RunRequest | dg.SkipReason:
    now = datetime.now(UTC)
    newest = store.newest_metagraph()
    refresh = timedelta(seconds=get_settings().metagraph_refresh_s)
    if newest is not None and now - newest.taken_at < refresh:
        age_s = (now - newest.taken_at).total_seconds()
        return dg.SkipReason(f"the snapshot of block {newest.block} is {age_s:.0f} s old")
    running = context.instance.get_runs(
        dg.RunsFilter(job_name=refresh_metagraph.name, statuses=UNFINISHED_RUNS), limit=1
    )
    if running:
        return dg.SkipReason(f"run {running[0].run_id} is taking one")
    return dg.RunRequest()

"""The things that are run."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from loosh_pipeline.lock import only_looking
from loosh_pipeline.orchestrator import (
    RESCORE_DAY_JOB,
    RESCORE_JOB,
    RESCORED,
    RESCORED_DAYS,
    RETENTION_JOB,
    SCORE_JOB,
    SINGLE_WRITER_TAG,
    WEIGHTS_JOB,
)
from loosh_pipeline.run_tags import LAUNCHED_BY_TAG, PROFILE_TAG
from loosh_pipeline.settings import Present, get_settings
from loosh_pipeline.workers.config import QUEUE_TAG, UPKEEP, rescoring_tags

UNFINISHED_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Runs that may still get their challenge further."""

FOR_UPKEEP = {QUEUE_TAG: UPKEEP}
"""Executed by workers of their own: what challenges and weights hang on waits for no miner and no narrative."""
FIRST = {**FOR_UPKEEP, "dagster/priority": "10"}
UNDER_PROFILE = {PROFILE_TAG: get_settings().pay_profile}
BY_SENSOR, BY_SCHEDULE = {LAUNCHED_BY_TAG: "sensor"}, {LAUNCHED_BY_TAG: "schedule"}


def evaluation(present: Present) -> dg.AssetSelection:
    """What a challenge's own run makes."""
    everything = dg.AssetSelection.groups("evaluation")
    if present is Present.WITH_SCORES:
        return everything
    return everything - dg.AssetSelection.assets("heatmaps", "narratives")


score_challenge = dg.define_asset_job(
    SCORE_JOB,
    selection=evaluation(get_settings().present),
    tags=UNDER_PROFILE,
    description="Asks miners one challenge, scores what they answer, tells the network. One run a challenge.",
)
set_weights = dg.define_asset_job(
    WEIGHTS_JOB,
    selection=dg.AssetSelection.groups("weights"),
    tags={SINGLE_WRITER_TAG: "weights", **FIRST, **UNDER_PROFILE},
    description="Aggregates payouts, checks what is proposed, sets weights and reads them back from the chain.",
)
read_receipts = dg.define_asset_job(
    "read_receipts",
    selection=dg.AssetSelection.assets("weight_receipts"),
    tags={SINGLE_WRITER_TAG: "weights", **FIRST},
    description="Reads weights that were submitted back from the chain, until it is certain what became of them.",
)
refresh_metagraph = dg.define_asset_job(
    "refresh_metagraph",
    selection=dg.AssetSelection.assets("metagraph"),
    tags=FIRST,
    description="Takes a snapshot of the subnet: who is registered, where they serve, what weights must obey.",
)
refresh_context = dg.define_asset_job(
    "refresh_context",
    selection=dg.AssetSelection.assets("scoring_context"),
    tags=FOR_UPKEEP,
    description="Takes word weights and background from the rounds of the last days.",
)
refresh_availability = dg.define_asset_job(
    "refresh_availability",
    selection=dg.AssetSelection.assets("miner_availability"),
    tags=FIRST,
    description="Asks every serving neuron whether it is there, so that challenges go to those that are.",
)
refresh_network_view = dg.define_asset_job(
    "refresh_network_view",
    selection=dg.AssetSelection.assets("network_view"),
    tags=FIRST,
    description="Asks the Challenge API what it thinks of the subnet's hotkeys, and tells it where they serve.",
)
retention = dg.define_asset_job(
    RETENTION_JOB,
    selection=dg.AssetSelection.groups("upkeep"),
    tags=FOR_UPKEEP,
    description="Keeps what there is small: old history of Dagster goes, and closed days become a few files.",
)

rescore_challenge = dg.define_asset_job(
    RESCORE_JOB,
    selection=dg.AssetSelection.assets(RESCORED),
    tags=rescoring_tags(RESCORED),
    description="Scores a stored challenge again, under today's parameters or others. Nobody is asked or told.",
)
rescore_day = dg.define_asset_job(
    RESCORE_DAY_JOB,
    selection=dg.AssetSelection.assets(RESCORED_DAYS),
    tags=rescoring_tags(RESCORED_DAYS),
    description="Scores all stored challenges of a day again, under today's parameters or others.",
)

ASSET_JOBS = [
    score_challenge,
    set_weights,
    read_receipts,
    refresh_metagraph,
    refresh_availability,
    refresh_network_view,
    refresh_context,
    retention,
    rescore_challenge,
    rescore_day,
]


def newest_run(instance: dg.DagsterInstance, job: str) -> dg.RunRecord | None:
    """The run of a job that was requested last; None when there was none."""
    return next(iter(instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)), None)


def held_up(instance: dg.DagsterInstance, job: str, pause: timedelta) -> str | None:
    """Why no run of a job is to be requested now: another process does, one is under way, or one just failed.

    `pause`: how long after a failed run the next one would fail too.
    """
    if reason := only_looking(get_settings().home):
        return reason
    last = newest_run(instance, job)
    if last is None:
        return None
    run = last.dagster_run
    if run.status in UNFINISHED_RUNS:
        return f"run {run.run_id} is under way, requested at {last.create_timestamp:%H:%M:%S} UTC"
    since = datetime.now(UTC) - last.create_timestamp
    if run.is_failure and timedelta(0) <= since < pause:  # a clock that was set back holds nothing up
        next_at = last.create_timestamp + pause
        return f"run {run.run_id} failed; the next follows {pause} after it, at {next_at:%H:%M:%S} UTC"
    return None

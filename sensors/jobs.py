"""The three things that are run."""

import dagster as dg

from loosh_pipeline.orchestrator import SCORE_JOB, SINGLE_WRITER_TAG, WEIGHTS_JOB

UNFINISHED_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Runs that may still get their challenge further."""

score_challenge = dg.define_asset_job(
    SCORE_JOB,
    selection=dg.AssetSelection.groups("evaluation"),
    description="Asks miners one challenge, scores what they answer, tells the network.",
)
set_weights = dg.define_asset_job(
    WEIGHTS_JOB,
    selection=dg.AssetSelection.groups("weights"),
    tags={SINGLE_WRITER_TAG: "weights"},
    description="Aggregates payouts, checks them, sets weights and reads them back.",
)
refresh_metagraph = dg.define_asset_job(
    "refresh_metagraph",
    selection=dg.AssetSelection.assets("metagraph"),
    description="Takes a snapshot of the subnet.",
)

"""Challenges: what the ingress has accepted. One partition each."""

import dagster as dg

from assets.about import DECIDES_PAY
from loosh_pipeline.orchestrator import CHALLENGES

OWNERS = ["team:validators"]
READ_ONCE = dg.DataVersion("read once")
"""Data version of every snapshot: a newer one makes nothing stale that was made of an earlier one."""
challenge_partitions = dg.DynamicPartitionsDefinition(name=CHALLENGES)

challenges = dg.AssetSpec(
    "challenges",
    description=(
        "What miners are asked: one prompt with its model and limits, a partition each. The ingress commits it to the "
        "database `validator.db` before its sender hears 201, so that none is lost; the run that evaluates it notes "
        "here what was asked. Everything else about a challenge lies under the same partition of the assets after it."
    ),
    group_name="intake",
    owners=OWNERS,
    kinds={"fastapi", "sqlite"},
    tags=DECIDES_PAY,
    partitions_def=challenge_partitions,
)

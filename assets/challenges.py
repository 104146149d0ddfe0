"""Challenges: what the ingress has accepted. One partition each."""

import dagster as dg

from loosh_pipeline.orchestrator import CHALLENGES

OWNERS = ["team:validators"]
READ_ONCE = dg.DataVersion("read once")
"""Data version of every snapshot: a newer one makes nothing stale that was made of an earlier one."""
challenge_partitions = dg.DynamicPartitionsDefinition(name=CHALLENGES)

challenges = dg.AssetSpec(
    "challenges",
    description="Prompts accepted by the ingress, each committed to the inbox before its sender heard 201.",
    group_name="intake",
    owners=OWNERS,
    kinds={"fastapi", "sqlite"},
    partitions_def=challenge_partitions,
)

"""The two snapshots of the subnet: who could be paid was looked up in one, and which uid everybody has in the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta

from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.report import Findings, How
from loosh_pipeline.domain import Metagraph, Neuron
from loosh_pipeline.policy.checks import LASTS

LATE = timedelta(minutes=5)
"""From a proposal's last check to when its weights are on record, at most."""
BLOCK_S = 12.0
MOST_BLOCKS = int((LASTS + LATE).total_seconds() / BLOCK_S)
"""From the proposal's snapshot to the plan's: a proposal may be set for an hour."""


def verify_snapshots(content: Content, findings: Findings) -> None:
    """Whether one snapshot follows from the other, and the epoch is of the second."""
    proposed, planned, epoch = content.inputs.subnet, content.subnet, content.epoch
    about = (epoch.netuid, epoch.block, epoch.genesis_hash)
    if about != (planned.netuid, planned.block, planned.genesis_hash):
        findings.mismatch("weights", f"the epoch is of {about}, and the snapshot of {planned.netuid}, {planned.block}")
    if epoch.included_block is not None and epoch.included_block < epoch.block:
        said = f"they are said to be in block {epoch.included_block}, before block {epoch.block} of their snapshot"
        findings.mismatch("weights", said)
    apart = planned.block - proposed.block
    if (proposed.netuid, proposed.genesis_hash) != (planned.netuid, planned.genesis_hash) or apart < 0:
        findings.mismatch("weights", f"they were proposed at block {proposed.block} of another chain, or later")
        return
    if apart > MOST_BLOCKS:
        said = f"uids are of block {planned.block}, {apart} after the proposal's; at most {MOST_BLOCKS} can be"
        findings.unverifiable("snapshots", said)
    for problem in _contradictions(proposed, planned):
        findings.mismatch("snapshots", problem)
    said = f"of block {proposed.block} for the proposal and {planned.block} for uids, {len(planned.neurons)} neurons"
    findings.done("snapshots", How.COMPARED, f"{said}; with one another, not with the chain")


def _contradictions(proposed: Metagraph, planned: Metagraph) -> Iterator[str]:
    if proposed.block == planned.block:
        for each in fields(Metagraph):
            if each.name != "taken_at" and getattr(proposed, each.name) != getattr(planned, each.name):
                yield f"of block {planned.block} the proposal and the plan have two snapshots with other {each.name}"
        return
    before = proposed.by_hotkey()
    for neuron in planned.neurons:
        yield from _moved(before.get(neuron.hotkey), neuron, proposed.block)


def _moved(before: Neuron | None, neuron: Neuron, block: int) -> Iterator[str]:
    """Who stays registered keeps its uid; who is new, or was registered again, came after the first snapshot."""
    if before is not None and before.registered_block == neuron.registered_block:
        if before.uid != neuron.uid:
            yield f"{neuron.hotkey} has uid {before.uid} in the proposal's snapshot, and {neuron.uid} in the plan's"
    elif neuron.registered_block <= block:
        was = "is not in" if before is None else f"has since block {before.registered_block} a slot in"
        said = f"{neuron.hotkey} {was} the proposal's snapshot of block {block}"
        yield f"{said}, and by the plan's it is registered since block {neuron.registered_block}"

"""What the chain says to a submission: pure, from its record and what was read of the chain afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from loosh_pipeline.chain.readiness import REORG_BLOCKS, is_dead
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.domain import Block, Commit, ObservedWeights, Uid, WeightPlan

_CERTAIN = frozenset({SubmissionState.REFUSED, SubmissionState.EXPIRED, SubmissionState.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a submission is in, and why."""

    state: SubmissionState
    reason: str
    included_block: Block | None = None
    reveal_epoch: int | None = None


def settle(row: SubmissionRow, observed: ObservedWeights, *, followed: bool = False) -> Verdict:
    """What became of a submission, by what the chain held at `observed.block`; `followed`: ours was not the last."""
    if row.state in _CERTAIN:
        return Verdict(row.state, row.reason, row.included_block, row.reveal_epoch)
    if row.state is SubmissionState.PLANNED or row.dies_at is None:
        return Verdict(SubmissionState.EXPIRED, "it was planned, and the process ended before anything was signed")
    if (commit := _listed(row, observed)) is not None:
        return _committed(row, commit, observed)
    moved = observed.last_update > row.plan.block
    if moved and matches(row.plan, observed, recycled(row.plan, observed)):
        at = row.included_block or observed.last_update
        reason = f"the chain's row of block {observed.block} is what was submitted"
        return Verdict(SubmissionState.OBSERVED, reason, at, row.reveal_epoch)
    if row.included_block is None:
        return _not_seen(row, observed, moved)
    if followed and row.commit_reveal:
        reason = f"the commit of block {row.included_block} no longer waits, and later weights of ours followed it"
        return Verdict(SubmissionState.SUPERSEDED, reason, row.included_block, row.reveal_epoch)
    return _not_shown(row, row.included_block, observed)


def recycled(plan: WeightPlan, observed: ObservedWeights) -> frozenset[Uid]:
    """Uids of a plan that belong to somebody else now, or were registered anew: the chain masks their weights."""
    if not observed.hotkeys:
        return frozenset()
    return frozenset(
        uid
        for uid, hotkey in plan.hotkeys.items()
        if observed.hotkeys.get(uid) != hotkey or observed.registered.get(uid, Block(0)) > plan.block
    )


def _listed(row: SubmissionRow, observed: ObservedWeights) -> Commit | None:
    """Our commit among those that wait to be revealed."""
    ours = (each for each in observed.commits if each.reveal_round == row.reveal_round and each.block > row.plan.block)
    return next(ours, None)


def _committed(row: SubmissionRow, commit: Commit, observed: ObservedWeights) -> Verdict:
    reveal_epoch = commit.epoch + row.reveal_period_epochs
    if observed.epoch <= reveal_epoch:
        reason = f"committed in epoch {commit.epoch}, to be revealed in epoch {reveal_epoch} (now {observed.epoch})"
        return Verdict(SubmissionState.COMMITTED, reason, commit.block, reveal_epoch)
    reason = (
        f"epoch {reveal_epoch}, in which the commit of block {commit.block} was to be revealed, is over, and it still "
        "waits: its drand round was not to be had in time"
    )
    return Verdict(SubmissionState.UNREVEALED, reason, commit.block, reveal_epoch)


def _not_seen(row: SubmissionRow, observed: ObservedWeights, moved: bool) -> Verdict:
    """Sent, its outcome lost, and the chain shows nothing of it."""
    if not is_dead(row, observed.block):
        until = Block((row.dies_at or 0) + REORG_BLOCKS)
        return Verdict(
            SubmissionState.UNKNOWN,
            f"at block {observed.block} the chain does not show it; it may still be included before block {until}",
        )
    if moved:
        reason = f"other weights were set with this hotkey at block {observed.last_update}; is a second validator up?"
        return Verdict(SubmissionState.MISSING, reason)
    return Verdict(SubmissionState.EXPIRED, f"it was not included, and since block {row.dies_at} it cannot be any more")


def _not_shown(row: SubmissionRow, included: Block, observed: ObservedWeights) -> Verdict:
    """Included, neither waiting to be revealed nor in the row."""
    if observed.last_update < included:
        if not is_dead(row, observed.block):
            reason = (
                f"it was included in block {included}, which block {observed.block} does not show; it may come back"
            )
            return Verdict(SubmissionState.INCLUDED, reason, included, row.reveal_epoch)
        return Verdict(SubmissionState.EXPIRED, f"the chain went another way than over block {included}, which held it")
    if not row.commit_reveal:
        if observed.last_update > included:
            reason = f"other weights took its place at block {observed.last_update}; is a second validator up?"
        else:
            reason = f"it was included in block {included}, and the chain's row is another"
        return Verdict(SubmissionState.MISSING, reason, included)
    reason = (
        f"the commit of block {included} no longer waits, and the chain's row is not what was committed: refused when "
        "it was revealed (permit, stake, version key), or followed by other weights"
    )
    return Verdict(SubmissionState.UNREVEALED, reason, included, row.reveal_epoch)

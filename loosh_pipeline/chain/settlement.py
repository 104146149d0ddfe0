"""What the chain says to a submission: pure, from its record and what was read of the chain afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loosh_pipeline.chain.records import NEVER_IN, OPEN, SubmissionRow, SubmissionState
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.domain import Block, Commit, Metagraph, ObservedWeights, Uid, WeightPlan

_CERTAIN = frozenset(
    {SubmissionState.EXPIRED, SubmissionState.SUPERSEDED, SubmissionState.UNREGISTERED, SubmissionState.NOT_DUE}
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that a submission is in, and why."""

    state: SubmissionState
    reason: str
    included_block: Block | None = None
    reveal_epoch: int | None = None


def settle(row: SubmissionRow, observed: ObservedWeights, later: Sequence[SubmissionRow] = ()) -> Verdict:
    """What became of a submission, by what the chain held at `observed.block`, which is final.

    `later`: what was submitted after it with the same hotkey, each as it is settled by the same reading.
    """
    refused = row.state is SubmissionState.REFUSED
    if row.state in _CERTAIN or (refused and row.included_block is None):
        return _unchanged(row)
    if row.state is SubmissionState.PLANNED or row.dies_at is None:
        return Verdict(SubmissionState.EXPIRED, "it was planned, and the process ended before anything was signed")
    if (shown := _shown(row, observed)) is not None:
        return shown
    if refused:  # it failed within a block; a reorganisation could have let it through after all
        return _unchanged(row)
    if _slot_lost(row, observed):
        reason = f"this hotkey has lost the uid that it had when they were set (block {observed.block}), and its row"
        return Verdict(SubmissionState.UNREGISTERED, reason, row.included_block, row.reveal_epoch)
    if row.included_block is None:
        return _not_seen(row, observed, later)
    return _not_shown(row, row.included_block, observed, later)


def settle_unread(row: SubmissionRow, subnet: Metagraph) -> Verdict:
    """What a snapshot says of a submission that no block can hold any more, when its row could not be read."""
    own = subnet.by_hotkey().get(row.hotkey)
    if row.state in OPEN and own is not None and own.last_update <= row.plan.block:
        reason = f"it is in no block: at block {subnet.block} the last weights are of block {own.last_update}"
        return Verdict(SubmissionState.EXPIRED, reason)
    return _unchanged(row)


def _unchanged(row: SubmissionRow) -> Verdict:
    return Verdict(row.state, row.reason, row.included_block, row.reveal_epoch)


def _shown(row: SubmissionRow, observed: ObservedWeights) -> Verdict | None:
    """What the chain shows of it: the commit that waits, or the row itself."""
    if (commit := _listed(row, observed)) is not None:
        return _committed(row, commit, observed)
    moved = observed.last_update > row.plan.block
    if not moved or not matches(row.plan, observed, recycled(row.plan, observed)):
        return None
    # A reorganisation may have put it into another block than it was first told to be in.
    own_block = not row.commit_reveal and _may_be_its(row, observed.last_update)
    at = observed.last_update if own_block else row.included_block or observed.last_update
    reason = f"the chain's row of block {observed.block} is what was submitted"
    return Verdict(SubmissionState.OBSERVED, reason, at, row.reveal_epoch)


def _may_be_its(row: SubmissionRow, block: Block) -> bool:
    return row.dies_at is not None and row.plan.block < block < row.dies_at


def _slot_lost(row: SubmissionRow, observed: ObservedWeights) -> bool:
    """Whether the hotkey has no uid any more, or one that it got after the submission was planned."""
    if observed.block < row.plan.block:
        return False
    return observed.uid is None or observed.registered.get(observed.uid, Block(0)) > row.plan.block


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
    waiting = observed.commits or ()
    ours = (each for each in waiting if each.reveal_round == row.reveal_round and each.block > row.plan.block)
    return next(ours, None)


def _committed(row: SubmissionRow, commit: Commit, observed: ObservedWeights) -> Verdict:
    # The subnet's owner may have changed the period meanwhile; until the longer one is over, nothing is lost.
    reveal_epoch = commit.epoch + max(row.reveal_period_epochs, observed.reveal_period_epochs)
    if observed.epoch <= reveal_epoch:
        reason = f"committed in epoch {commit.epoch}, to be revealed in epoch {reveal_epoch} (now {observed.epoch})"
        return Verdict(SubmissionState.COMMITTED, reason, commit.block, reveal_epoch)
    reason = (
        f"epoch {reveal_epoch}, in which the commit of block {commit.block} was to be revealed, is over, and it still "
        "waits: its drand round was not to be had in time"
    )
    return Verdict(SubmissionState.UNREVEALED, reason, commit.block, reveal_epoch)


def _not_seen(row: SubmissionRow, observed: ObservedWeights, later: Sequence[SubmissionRow]) -> Verdict:
    """Sent, its outcome lost, and the chain shows nothing of it."""
    if row.dies_at is not None and observed.block < row.dies_at:
        return Verdict(
            SubmissionState.UNKNOWN,
            f"at block {observed.block}, the newest that is final, the chain does not show it; it may still be "
            f"included before block {row.dies_at}",
        )
    if observed.last_update <= row.plan.block:
        text = f"it was not included, and since block {row.dies_at} it cannot be any more"
        return Verdict(SubmissionState.EXPIRED, text)
    if row.commit_reveal and _may_be_its(row, observed.last_update):
        # Nothing else of this hotkey is sent from here while it may be included: the commit is most likely this one.
        return _not_revealed(row, observed.last_update, observed, later)
    if _of_ours(later, observed):
        return Verdict(
            SubmissionState.SUPERSEDED, "later weights of ours followed: whether it was included is not known"
        )
    reason = f"other weights were set with this hotkey at block {observed.last_update}; is a second validator up?"
    return Verdict(SubmissionState.MISSING, reason)


def _not_shown(
    row: SubmissionRow, included: Block, observed: ObservedWeights, later: Sequence[SubmissionRow]
) -> Verdict:
    """Included, neither waiting to be revealed nor in the row."""
    if observed.block < included:
        reason = f"it was included in block {included}; the newest that is final is {observed.block}"
        return Verdict(SubmissionState.INCLUDED, reason, included, row.reveal_epoch)
    if observed.last_update < included:
        if row.dies_at is not None and observed.block < row.dies_at:
            reason = f"the chain went another way than over block {included}, which held it; it may come back"
            return Verdict(SubmissionState.INCLUDED, reason, included, row.reveal_epoch)
        return Verdict(SubmissionState.EXPIRED, f"the chain went another way than over block {included}, which held it")
    if row.commit_reveal and row.state is not SubmissionState.OBSERVED:
        return _not_revealed(row, included, observed, later)
    return _replaced(row, included, observed, later)


def _not_revealed(
    row: SubmissionRow, included: Block, observed: ObservedWeights, later: Sequence[SubmissionRow]
) -> Verdict:
    """Committed, no longer waiting, and not in the row."""
    if observed.commits is None:
        state = SubmissionState.COMMITTED if row.state is SubmissionState.COMMITTED else SubmissionState.INCLUDED
        reason = f"committed in block {included}; whether it still waits, the chain's runtime does not say"
        return Verdict(state, reason, included, row.reveal_epoch)
    if any(_was_revealed(each, observed) for each in later):
        reason = f"the commit of block {included} no longer waits, and later weights of ours were revealed"
        return Verdict(SubmissionState.SUPERSEDED, reason, included, row.reveal_epoch)
    reason = (
        f"the commit of block {included} no longer waits, and the chain's row is not what was committed: its drand "
        "round never came or came too late, it was refused when it was revealed (permit, stake, version key), or "
        "others set weights"
    )
    return Verdict(SubmissionState.UNREVEALED, reason, included, row.reveal_epoch)


def _was_revealed(row: SubmissionRow, observed: ObservedWeights) -> bool:
    if row.state in NEVER_IN or _listed(row, observed) is not None:
        return False
    return row.state is SubmissionState.OBSERVED or matches(row.plan, observed, recycled(row.plan, observed))


def _of_ours(later: Sequence[SubmissionRow], observed: ObservedWeights) -> bool:
    """Whether the last weights may be one of these."""
    return any(row.state not in NEVER_IN and observed.last_update > row.plan.block for row in later)


def _replaced(
    row: SubmissionRow, included: Block, observed: ObservedWeights, later: Sequence[SubmissionRow]
) -> Verdict:
    """Set, and the row is another."""
    if _of_ours(later, observed):
        reason = f"later weights of ours took its place at block {observed.last_update}"
        return Verdict(SubmissionState.SUPERSEDED, reason, included, row.reveal_epoch)
    if recycled(row.plan, observed) >= row.plan.weights.keys():
        reason = f"it was included in block {included}, and every uid of it has changed hands since"
    elif row.commit_reveal:
        reason = "it was revealed, and other weights took its place; is a second validator up?"
    elif observed.last_update > included:
        reason = f"other weights took its place at block {observed.last_update}; is a second validator up?"
    else:
        reason = f"it was included in block {included}, and the chain's row is another"
    return Verdict(SubmissionState.MISSING, reason, included, row.reveal_epoch)

"""Setting weights, and finding out what became of them: the chain on one side, the ledger on the other.

Nothing is sent that is not on record, and nothing is sent again before the chain has been read: a process may be
killed between any two lines here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.readiness import NotYet
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain.settlement import settle
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Hotkey, Metagraph, ObservedWeights, Proposal, SignedExtrinsic, Submission
from loosh_pipeline.errors import LooshError, NotTheWriter
from loosh_pipeline.store.leases import Lease
from loosh_pipeline.store.submissions import Submissions

LEASE_LENGTH = timedelta(minutes=5)
"""Longer than everything that is done under it. A killed writer is followed by the next after that."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def too_old(proposal: Proposal, max_age_s: float, now: datetime) -> NotYet | None:
    """Why a proposal is not submitted any more; None when it is recent."""
    age_s = (now - proposal.made_at).total_seconds()
    if age_s <= max_age_s:
        return None
    return NotYet(
        "stale_proposal",
        f"the proposal is {age_s:.0f} s old and WEIGHTS_PROPOSAL_MAX_AGE_S is {max_age_s:g}; materialize emissions and "
        "weight_proposal, or let weights_schedule do it",
    )


def review(
    chain: Chain, ledger: Submissions, lease: Lease, row: SubmissionRow, clock: Clock = utc_now
) -> tuple[SubmissionRow, ObservedWeights]:
    """Read the chain and record what became of a submission."""
    observed = chain.observe(row.plan.netuid, row.hotkey)
    verdict = settle(row, observed)
    if verdict.state is row.state and not row.is_open:
        return row, observed
    moved = ledger.move(
        lease,
        row,
        verdict.state,
        verdict.reason,
        clock(),
        included_block=verdict.included_block,
        reveal_epoch=verdict.reveal_epoch,
        seen_block=observed.block,
    )
    return moved, observed


def submit(
    chain: Chain,
    ledger: Submissions,
    lease: Lease,
    subnet: Metagraph,
    own_hotkey: Hotkey,
    proposal: Proposal,
    clock: Clock = utc_now,
) -> SubmissionRow:
    """Submit a proposal; returns once it is included or refused.

    Raises `ChainError` when it could not be submitted, or its outcome was lost: the ledger says which.
    """
    plan = plan_weights(proposal.shares, subnet, own_hotkey)
    row = ledger.plan(lease, plan, subnet, own_hotkey, clock())

    def before_sending(signed: SignedExtrinsic) -> None:
        nonlocal row
        row = ledger.move(
            lease,
            row,
            SubmissionState.SENDING,
            "signed, and sent or about to be",
            clock(),
            extrinsic_hash=signed.hash,
            dies_at=signed.dies_at,
            commit_reveal=signed.commit_reveal,
            reveal_round=signed.reveal_round,
        )

    try:
        said = chain.submit_weights(plan, before_sending)
    except NotTheWriter:
        raise  # nothing was sent, and the record is another's now
    except LooshError as error:
        sent = row.state is SubmissionState.SENDING
        state = SubmissionState.UNKNOWN if sent else SubmissionState.EXPIRED
        ledger.move(lease, row, state, str(error), clock(), error_code=None if sent else "not_submitted")
        raise
    return _recorded(ledger, lease, row, said, clock())


def _recorded(ledger: Submissions, lease: Lease, row: SubmissionRow, said: Submission, now: datetime) -> SubmissionRow:
    if said.success:
        state, reason = SubmissionState.INCLUDED, f"included in block {said.included_block}"
    else:
        state, reason = SubmissionState.REFUSED, f"{said.error_code}: {said.error}"
    return ledger.move(
        lease,
        row,
        state,
        reason,
        now,
        included_block=said.included_block,
        seen_block=said.included_block,
        extrinsic_hash=said.extrinsic_hash,
        error_code=said.error_code,
    )

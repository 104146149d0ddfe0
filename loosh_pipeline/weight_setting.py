"""Setting weights, and finding out what became of them: the chain on one side, the ledger on the other.

Nothing is sent that is not on record, and nothing is sent again before the chain has been read: a process may be
killed between any two lines here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.readiness import NotYet, not_ready
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain.settlement import Verdict, settle
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Hotkey, Metagraph, ObservedWeights, Proposal, SignedExtrinsic, Submission
from loosh_pipeline.errors import LooshError, NotTheWriter
from loosh_pipeline.store.leases import Lease
from loosh_pipeline.store.submissions import Submissions

LEASE_LENGTH = timedelta(minutes=5)
"""Longer than everything that is done under it: three times preparing (40 s) and one inclusion (CHAIN_TIMEOUT_S).

A killed writer is followed by the next after that.
"""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Desk:
    """What whoever sets weights works with. `keep` makes tables of a record, whatever state it is in."""

    chain: Chain
    ledger: Submissions
    lease: Lease
    keep: Callable[[SubmissionRow], object]
    clock: Clock = utc_now


def set_weights(
    desk: Desk, subnet: Metagraph, own_hotkey: Hotkey, proposed: Callable[[], Proposal]
) -> SubmissionRow | NotYet:
    """Submit what is proposed, unless it is not yet time or a submission before it is still open.

    `proposed` is asked last, and may raise. Raises `ChainError` like `submit`.
    """
    rows = desk.ledger.recent(subnet.netuid, own_hotkey, genesis_hash=subnet.genesis_hash)
    if any(row.is_open for row in rows):  # after whatever broke off, the chain is read first
        review(desk, rows)
        rows = desk.ledger.recent(subnet.netuid, own_hotkey, genesis_hash=subnet.genesis_hash)
    # The interval is the schedule's concern; the chain's own rules hold for whoever asks.
    if (not_yet := not_ready(subnet, own_hotkey, rows=rows)) is not None:
        return not_yet
    proposal = proposed()
    try:
        return submit(desk, subnet, own_hotkey, proposal)
    finally:
        for row in desk.ledger.recent(subnet.netuid, own_hotkey, limit=1, genesis_hash=subnet.genesis_hash):
            desk.keep(row)


def review(desk: Desk, rows: Sequence[SubmissionRow]) -> tuple[SubmissionRow, ObservedWeights]:
    """Read the chain, and record what became of the newest submission, and of those before it that are undecided.

    `rows`: of one hotkey on one chain, newest first, at least one. Returns the newest and what was read.
    """
    newest, *older = rows
    observed = desk.chain.observe(newest.plan.netuid, newest.hotkey, newest.genesis_hash)
    for row in older:
        if row.is_open:
            _moved(desk, row, settle(row, observed, followed=True), observed)
    return _moved(desk, newest, settle(newest, observed), observed), observed


def _moved(desk: Desk, row: SubmissionRow, verdict: Verdict, observed: ObservedWeights) -> SubmissionRow:
    if verdict.state is not row.state or row.is_open:
        row = desk.ledger.move(
            desk.lease,
            row,
            verdict.state,
            verdict.reason,
            desk.clock(),
            included_block=verdict.included_block,
            reveal_epoch=verdict.reveal_epoch,
            seen_block=observed.block,
        )
    desk.keep(row)
    return row


def submit(desk: Desk, subnet: Metagraph, own_hotkey: Hotkey, proposal: Proposal) -> SubmissionRow:
    """Submit a proposal; returns once it is included or refused.

    Raises `ChainError` when it could not be submitted, or its outcome was lost: the ledger says which.
    """
    plan = plan_weights(proposal.shares, subnet, own_hotkey)
    row = desk.ledger.plan(desk.lease, plan, subnet, own_hotkey, desk.clock())

    def before_sending(signed: SignedExtrinsic) -> None:
        nonlocal row
        row = desk.ledger.move(
            desk.lease,
            row,
            SubmissionState.SENDING,
            "signed, and sent or about to be",
            desk.clock(),
            extrinsic_hash=signed.hash,
            dies_at=signed.dies_at,
            commit_reveal=signed.commit_reveal,
            reveal_round=signed.reveal_round,
            composed_here=signed.composed_here,
        )

    try:
        said = desk.chain.submit_weights(plan, before_sending, subnet.genesis_hash)
    except NotTheWriter:
        raise  # nothing was sent, and the record is another's now
    except LooshError as error:
        sent = row.state is SubmissionState.SENDING
        state = SubmissionState.UNKNOWN if sent else SubmissionState.EXPIRED
        desk.ledger.move(desk.lease, row, state, str(error), desk.clock(), error_code=None if sent else "not_submitted")
        raise
    return _recorded(desk, row, said)


def _recorded(desk: Desk, row: SubmissionRow, said: Submission) -> SubmissionRow:
    if said.success:
        state, reason = SubmissionState.INCLUDED, f"included in block {said.included_block}"
    else:
        state, reason = SubmissionState.REFUSED, f"{said.error_code}: {said.error}"
    return desk.ledger.move(
        desk.lease,
        row,
        state,
        reason,
        desk.clock(),
        included_block=said.included_block,
        seen_block=said.included_block,
        extrinsic_hash=said.extrinsic_hash,
        error_code=said.error_code,
    )

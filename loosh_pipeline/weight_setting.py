"""Setting weights, and finding out what became of them: the chain on one side, the ledger on the other.

Nothing is sent that is not on record, and nothing is sent again before the chain has been read: a process may be
killed between any two lines here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.process import READ_WITHIN_S
from loosh_pipeline.chain.readiness import NotYet, is_dead, not_ready
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain.settlement import Verdict, settle, settle_unread
from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Block, Hotkey, Metagraph, ObservedWeights, Proposal, SignedExtrinsic, Submission
from loosh_pipeline.errors import ChainError, LooshError, NotTheWriter
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import BUSY_TIMEOUT_MS
from loosh_pipeline.store.leases import Lease
from loosh_pipeline.store.submissions import Submissions

log = logging.getLogger(__name__)

RATE_LIMITED = "rate_limited"
_CHAIN_CALLS = 3
"""Before sending: the snapshot, what is undecided, and preparing."""
_WRITES = 6
"""Of the ledger for one submission and the one before it, each of which may wait for another process."""
_CHECKING_S = 60.0
"""To check what is proposed, from tables."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def lease_length(settings: Settings) -> timedelta:
    """Longer than everything that is done under the lease; a killed writer is followed by the next after that."""
    chain_s = _CHAIN_CALLS * min(settings.chain_timeout_s, READ_WITHIN_S) + settings.chain_timeout_s
    return timedelta(seconds=chain_s + _WRITES * BUSY_TIMEOUT_MS / 1000 + _CHECKING_S)


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
        _settle(desk, subnet, rows)
        rows = desk.ledger.recent(subnet.netuid, own_hotkey, genesis_hash=subnet.genesis_hash)
    # The interval is the schedule's concern; the chain's own rules hold for whoever asks.
    if (not_yet := not_ready(subnet, own_hotkey, rows=rows)) is not None:
        return not_yet
    row = submit(desk, subnet, own_hotkey, proposed())
    desk.keep(row)
    return row


def _settle(desk: Desk, subnet: Metagraph, rows: Sequence[SubmissionRow]) -> None:
    """Review, if need be by the snapshot: what is dead must not hold weights up for as long as a row cannot be read."""
    try:
        review(desk, rows)
    except ChainError as error:
        opened = [row for row in rows if row.is_open]
        if not all(is_dead(row, subnet.block) for row in opened):
            raise
        log.warning("what was submitted could not be read back, and can be in no later block; going on: %s", error)
        for row in opened:
            _moved(desk, row, settle_unread(row, subnet), subnet.block)


def review(desk: Desk, rows: Sequence[SubmissionRow]) -> tuple[SubmissionRow, ObservedWeights]:
    """Read the chain, and record what became of the newest submission, and of those before it that are undecided.

    `rows`: of one hotkey on one chain, newest first, at least one. Returns the newest and what was read.
    """
    observed = desk.chain.observe(rows[0].plan.netuid, rows[0].hotkey, rows[0].genesis_hash)
    settled: list[SubmissionRow] = []
    for row in rows:
        if row.is_open or not settled:
            row = _moved(desk, row, settle(row, observed, settled), observed.block)
        settled.append(row)
    return settled[0], observed


def _moved(desk: Desk, row: SubmissionRow, verdict: Verdict, seen_block: Block) -> SubmissionRow:
    if verdict.state is not row.state or row.is_open:
        row = desk.ledger.move(
            desk.lease,
            row,
            verdict.state,
            verdict.reason,
            desk.clock(),
            included_block=verdict.included_block,
            reveal_epoch=verdict.reveal_epoch,
            seen_block=seen_block,
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
        _broke_off(desk, row, error)
        raise
    return _recorded(desk, row, said)


def _broke_off(desk: Desk, row: SubmissionRow, error: LooshError) -> None:
    """Record it; what then goes wrong must not hide why it broke off. The record says `sending`, which is still so."""
    sent = row.state is SubmissionState.SENDING
    state, code = (SubmissionState.UNKNOWN, None) if sent else (SubmissionState.EXPIRED, "not_submitted")
    try:
        desk.keep(desk.ledger.move(desk.lease, row, state, str(error), desk.clock(), error_code=code))
    except Exception:
        log.exception("submission %d broke off and could not be recorded as %s", row.id, state)


def _recorded(desk: Desk, row: SubmissionRow, said: Submission) -> SubmissionRow:
    if said.success:
        state, reason = SubmissionState.INCLUDED, f"included in block {said.included_block}"
    else:
        early = said.error_code == RATE_LIMITED and said.included_block is None
        state = SubmissionState.NOT_DUE if early else SubmissionState.REFUSED
        reason = f"{said.error_code}: {said.error}"
    facts = {
        "included_block": said.included_block,
        "seen_block": said.included_block,
        "extrinsic_hash": said.extrinsic_hash,
        "error_code": said.error_code,
    }
    try:
        return desk.ledger.move(desk.lease, row, state, reason, desk.clock(), **facts)
    except NotTheWriter as error:
        if row.state is not SubmissionState.SENDING:
            raise
        raise ChainError(
            f"weights were sent ({said.extrinsic_hash}), and another writer took over before that was recorded; it "
            f"reads from the chain what became of them: {error}"
        ) from error

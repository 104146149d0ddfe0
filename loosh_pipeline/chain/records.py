"""What is on record of one submission of weights, and what its states mean.

planned ─▶ sending ─▶ included ─▶ observed                       plain weights
   │          │  │        └─────▶ committed ─▶ observed          commit-reveal
   │          │  └▶ unknown ─▶ (any of these, when the chain has been read)
   ▼          ▼
expired    refused, not_due           and, from where it went wrong: missing, expired, unrevealed, unregistered
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from loosh_pipeline.chain.weights import quantize
from loosh_pipeline.domain import Block, Hotkey, Submission, WeightPlan

SPEC_CHANGE_SHOWN = timedelta(days=7)
"""How long a change of the runtime is told when nobody acknowledges it."""


class SubmissionState(StrEnum):
    PLANNED = "planned"
    """On record, not signed: nothing of it can be on its way."""
    SENDING = "sending"
    """Signed, and sent or about to be."""
    UNKNOWN = "unknown"
    """Sending broke off. It can be included until its signature dies."""
    INCLUDED = "included"
    COMMITTED = "committed"
    """The chain lists the commit and reveals it later."""
    OBSERVED = "observed"
    """The chain's row is what was submitted."""
    MISSING = "missing"
    """It was included, and the row is another."""
    REFUSED = "refused"
    NOT_DUE = "not_due"
    """The chain's rate limit had not passed, by its own word: nothing was included, and nothing went wrong."""
    EXPIRED = "expired"
    """It was not included and never can be."""
    UNREVEALED = "unrevealed"
    """The epoch in which the chain was to reveal the commit is over, and the row does not show it."""
    SUPERSEDED = "superseded"
    """The row shows later weights of ours, so that it says nothing of these."""
    UNREGISTERED = "unregistered"
    """Its hotkey lost its slot, and the row went with it."""


OPEN = frozenset(
    {
        SubmissionState.PLANNED,
        SubmissionState.SENDING,
        SubmissionState.UNKNOWN,
        SubmissionState.INCLUDED,
        SubmissionState.COMMITTED,
    }
)
"""States that the chain has yet to decide."""
NEVER_IN = frozenset(
    {SubmissionState.PLANNED, SubmissionState.REFUSED, SubmissionState.NOT_DUE, SubmissionState.EXPIRED}
)
"""States of what is in no block."""
_NOT_INCLUDED = frozenset({SubmissionState.REFUSED, SubmissionState.EXPIRED})
FAILED = frozenset(
    {SubmissionState.MISSING, SubmissionState.REFUSED, SubmissionState.EXPIRED, SubmissionState.UNREVEALED}
)


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """One submission. `dies_at`: from that block on it cannot be included; None when nothing was signed.

    `seen_block` is the block at which the state was last changed or confirmed, `reason` what was seen.
    `genesis_hash`: of the chain it went to. `composed_here`: why its call was not composed by the SDK.
    """

    id: int
    hotkey: Hotkey
    plan: WeightPlan
    state: SubmissionState
    commit_reveal: bool
    spec_version: int
    reveal_period_epochs: int
    fence: int
    created_at: datetime
    changed_at: datetime
    seen_block: Block
    seen_at: datetime
    reason: str = ""
    extrinsic_hash: str | None = None
    dies_at: Block | None = None
    included_block: Block | None = None
    reveal_round: int | None = None
    reveal_epoch: int | None = None
    error_code: str | None = None
    genesis_hash: str | None = None
    composed_here: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the chain has yet to decide; what failed within a block is decided once that block is final."""
        failed_in = self.included_block if self.state is SubmissionState.REFUSED else None
        return self.state in OPEN or (failed_in is not None and self.seen_block <= failed_in)

    def of_one_signer(self, other: SubmissionRow) -> bool:
        """Whether both were signed by one hotkey for one subnet of one chain: only these come after one another."""
        one, two = ((each.hotkey, each.plan.netuid, each.genesis_hash) for each in (self, other))
        return one == two

    @property
    def in_place(self) -> bool:
        """Whether the chain holds these weights now, by what was seen of them last."""
        return self.taken and self.state not in (SubmissionState.SUPERSEDED, SubmissionState.UNREGISTERED)

    @property
    def taken(self) -> bool:
        """Whether the chain took these weights, and nothing since says that it does not hold them."""
        return self.included_block is not None and self.state not in FAILED

    def submission(self) -> Submission:
        """What the chain said to it, as far as it is known."""
        included = self.included_block is not None and self.state not in _NOT_INCLUDED
        return Submission(
            success=included,
            included_block=self.included_block,
            extrinsic_hash=self.extrinsic_hash,
            commit_reveal=self.commit_reveal,
            error_code=None if included else self.error_code or self.state.value,
            error=None if included else self.reason,
            reveal_round=self.reveal_round,
        )


@dataclass(frozen=True, slots=True)
class SpecChange:
    """The chain's runtime became another one, last at `at`, and no operator has said yet that this is fine."""

    before: int
    after: int
    at: datetime


def plan_digest(plan: WeightPlan) -> str:
    """SHA-256 of what is signed: subnet, version key, and the weights by uid as the chain holds them."""
    weights = sorted(quantize(plan.weights).items())
    said = {"netuid": plan.netuid, "version_key": plan.version_key, "weights": weights}
    return hashlib.sha256(json.dumps(said, separators=(",", ":"), sort_keys=True).encode()).hexdigest()

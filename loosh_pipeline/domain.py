"""The small typed values that every other module speaks in.

Plain frozen dataclasses: no IO, no clock, no framework. Times are aware UTC datetimes or milliseconds;
a quantity with a unit carries it in its name. Identities are hotkeys; a uid belongs to one recorded block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

Hotkey = NewType("Hotkey", str)
"""SS58 address (format 42) of a hotkey: the identity of a neuron."""
Coldkey = NewType("Coldkey", str)
Uid = NewType("Uid", int)
"""Slot of a neuron in the metagraph at one block; slots are recycled, hotkeys are not."""
Block = NewType("Block", int)
ChallengeId = NewType("ChallengeId", str)
ScorerVersion = NewType("ScorerVersion", str)


class ChallengeState(StrEnum):
    """How far a challenge has come. Every move is idempotent, so a killed process resumes."""

    RECEIVED = "received"
    DISPATCHED = "dispatched"
    COLLECTED = "collected"
    SCORED = "scored"
    SUBMITTED = "submitted"
    FAILED = "failed"


STATE_ORDER: Mapping[ChallengeState, int] = {state: rank for rank, state in enumerate(ChallengeState)}
"""A challenge only ever moves to a state of higher rank (`failed` is left only by an operator's retry)."""


class Outcome(StrEnum):
    """What became of asking one miner. Anything but `answered` is paid nothing, and says why."""

    ANSWERED = "answered"
    EMPTY = "empty"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    HANDSHAKE_FAILED = "handshake_failed"
    UNDECRYPTABLE = "undecryptable"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    BAD_ADDRESS = "bad_address"


class Mode(StrEnum):
    """How pressing it is to set weights before the chain takes the validator for inactive."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    EMERGENCY = "emergency"


class DeliveryKind(StrEnum):
    """What the Challenge API is told."""

    RESPONSE_BATCH = "response_batch"
    CALLBACK = "callback"
    HEATMAP = "heatmap"
    SYBIL_REPORT = "sybil_report"
    NETWORK_REPORT = "network_report"
    PENALTY_REPORT = "penalty_report"


RESULTS = frozenset({DeliveryKind.RESPONSE_BATCH, DeliveryKind.CALLBACK})
"""The kinds that tell what came of a challenge: it is told by one of them, once."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One prompt to be answered, with every parameter resolved.

    `prompt` is what answers are evaluated against: the prompt itself, or the last user message.
    `original` is the request as it was received, to be returned upstream unchanged.
    """

    id: ChallengeId
    prompt: str
    model: str
    max_tokens: int
    temperature: float
    top_p: float
    received_at: datetime
    messages: tuple[Mapping[str, Any], ...] | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    tool_choice: Any = None
    correlation_id: str | None = None
    timing_data: Mapping[str, Any] | None = None
    original: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Neuron:
    """One registered neuron at the block of its metagraph. `ip` is None when it serves nothing."""

    uid: Uid
    hotkey: Hotkey
    coldkey: Coldkey
    ip: str | None
    port: int
    validator_permit: bool
    stake: float
    last_update: Block
    registered_block: Block = Block(0)
    """When this hotkey took its slot; a later one than weights were made at means that the slot was recycled."""

    @property
    def serves(self) -> bool:
        return self.ip not in (None, "", "0", "0.0.0.0") and self.port > 0


@dataclass(frozen=True, slots=True)
class Metagraph:
    """The subnet at one block: who is registered, and the hyperparameters that weights must obey."""

    netuid: int
    block: Block
    block_hash: str
    spec_version: int
    taken_at: datetime
    tempo_blocks: int
    activity_cutoff_blocks: int
    weights_rate_limit_blocks: int
    min_allowed_weights: int
    weights_version_key: int
    commit_reveal: bool
    neurons: tuple[Neuron, ...]
    reveal_period_epochs: int = 1
    max_weight_share: float = 1.0
    """Most that the chain lets one weight be of all."""
    stake_threshold: float = 0.0
    """Stake below which a validator may not set weights."""
    block_time: datetime | None = None
    """When the block was made, by the chain's own clock; None where it was not read."""
    owner_hotkey: Hotkey | None = None
    owner_coldkey: Coldkey | None = None
    """The subnet owner's keys, whose neurons need no validator permit; None where they were not read."""
    genesis_hash: str | None = None
    """Of block 0, which tells one chain from another; None in what was stored before it was read."""

    def by_hotkey(self) -> dict[Hotkey, Neuron]:
        return {neuron.hotkey: neuron for neuron in self.neurons}


@dataclass(frozen=True, slots=True)
class NetworkView:
    """What the Challenge API said of the subnet's hotkeys at one time.

    Shares of 1 where it is a `sybil_score`; a `priority_weight` is how often a miner is to be drawn beside one of
    weight 1. Who is missing from either was not spoken of.
    """

    taken_at: datetime
    validators: frozenset[Hotkey]
    sybil_scores: Mapping[Hotkey, float]
    priority_weights: Mapping[Hotkey, float]


@dataclass(frozen=True, slots=True)
class Availability:
    """What one neuron said of itself at the address it had. `reason` is empty when it is available; else details, in
    the words of whoever it was, come after a colon.

    `latency_ms` is of the request alone; None when no answer came. It says nothing about answering challenges.
    """

    hotkey: Hotkey
    uid: Uid
    ip: str
    port: int
    available: bool
    reason: str
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class AvailabilityTable:
    """What all serving neurons said at one time."""

    taken_at: datetime
    rows: tuple[Availability, ...]

    def by_hotkey(self) -> dict[Hotkey, Availability]:
        return {row.hotkey: row for row in self.rows}


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the miner states them; zeros when it stated none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """What became of asking one miner: one of these exists for every miner asked.

    `elapsed_ms` runs at the socket, from when the challenge was first sent to the end of the answer; None when no
    request with it was completed. `handshake_ms` is what the handshake before that took; None when there was none.
    `sha256` is of the decrypted answer bytes; empty when there was none.
    """

    challenge_id: ChallengeId
    hotkey: Hotkey
    coldkey: Coldkey
    uid: Uid
    ip: str
    port: int
    outcome: Outcome
    detail: str = ""
    text: str = ""
    elapsed_ms: float | None = None
    handshake_ms: float | None = None
    finish_reason: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] | None = None
    usage: Usage = Usage()
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Emission:
    """A miner's aggregate over the lookback: what weights are made of.

    `evidence`: how many rounds of equal age its rounds are worth. `ramp` in [0, 1]: how much of full evidence that is.
    `coverage` in [0, 1]: how much of the time it was there. `weight`: its share of all emissions, before policy.
    """

    hotkey: Hotkey
    asked: int
    answered: int
    paid: int
    mean_payout: float
    emission: float
    weight: float
    last_answered_at: datetime | None = None
    evidence: float = 0.0
    ramp: float = 1.0
    coverage: float = 1.0


@dataclass(frozen=True, slots=True)
class OneSource:
    """Two identities of a lookback that are taken for one source to a degree above 0, and what speaks for it."""

    first: Hotkey
    second: Hotkey
    rounds: int
    degree: float
    same_address: bool
    same_coldkey: bool


@dataclass(frozen=True, slots=True)
class RuleAct:
    """One thing that a rule of the policy did to a miner's share; `hotkey` is empty where it concerned all."""

    rule: str
    hotkey: Hotkey
    before: float
    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What each miner is to have of all pay, after policy, by hotkey: uids are looked up when it is submitted.

    Shares sum to 1, or are all 0 when nobody is to have anything. `block`: of the snapshot the policy looked at.
    `basis`: what the shares were made of. `overrides`: checks that an operator waived for this one run.
    """

    made_at: datetime
    block: Block
    mode: Mode
    profile: str
    basis: str
    rounds: int
    shares: Mapping[Hotkey, float]
    acts: tuple[RuleAct, ...] = ()
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """Weights to be set, resolved to the uids of one block. `dropped` says who was left out and why."""

    netuid: int
    block: Block
    weights: Mapping[Uid, float]
    hotkeys: Mapping[Uid, Hotkey]
    version_key: int
    dropped: Mapping[Hotkey, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submission:
    """What the chain said to a weight plan. `included` is not yet `observed`: read the chain for that.

    With commit-reveal the row shows only after the drand round `reveal_round`. Without `extrinsic_hash` nothing was
    signed.
    """

    success: bool
    included_block: Block | None
    extrinsic_hash: str | None
    commit_reveal: bool
    error_code: str | None = None
    error: str | None = None
    reveal_round: int | None = None


@dataclass(frozen=True, slots=True)
class SignedExtrinsic:
    """What is about to be sent. From block `dies_at` on, no block can hold it any more.

    `composed_here`: why its call was not composed by the SDK; None when it was.
    """

    hash: str
    dies_at: Block
    commit_reveal: bool = False
    reveal_round: int | None = None
    composed_here: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """Weights that a validator committed to and the chain has not revealed yet."""

    epoch: int
    block: Block
    reveal_round: int


@dataclass(frozen=True, slots=True)
class ObservedWeights:
    """The weight row of one validator as the chain holds it at `block`, which is final. Shares sum to 1 unless empty.

    `hotkeys` and `registered`: who holds each slot of the subnet at that block, and since when; empty for one that is
    not registered itself.
    """

    hotkey: Hotkey
    uid: Uid | None
    block: Block
    last_update: Block
    weights: Mapping[Uid, float]
    epoch: int = 0
    reveal_period_epochs: int = 0
    """Epochs after which a commit is revealed, now; 0 where that was not read."""
    commits: tuple[Commit, ...] | None = ()
    """What waits to be revealed; None where the chain's runtime does not say."""
    hotkeys: Mapping[Uid, Hotkey] = field(default_factory=dict)
    registered: Mapping[Uid, Block] = field(default_factory=dict)

"""A receipt: why a miner has its weight in one epoch, from the chain down to single responses, as one typed value.

Everything in it is read from stored tables, or worked out again from them by the functions that decided the weights.
Shares are parts of 1. Words of strangers (prompts, answers, what a miner said went wrong) are cut and have no control
characters; whoever shows them escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loosh_pipeline.domain import Emission, Hotkey
from loosh_pipeline.plain import plain
from loosh_pipeline.scoring.explanation import Explanation

FORMAT = "loosh-receipt/1"


@dataclass(frozen=True, slots=True)
class EpochSaid:
    """One setting of weights. `digest`: of what was signed. `mode`, `basis` and `profile` are empty where the proposal
    behind it is not kept any more; `rounds` made it.
    """

    number: int
    validator: Hotkey
    netuid: int
    genesis_hash: str | None
    submitted_at: datetime
    state: str
    reason: str
    block: int
    included_block: int | None
    extrinsic_hash: str | None
    digest: str
    weights: int
    mode: str = ""
    basis: str = ""
    profile: str = ""
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class WeightSaid:
    """`planned`: what was submitted, `u16` as the chain holds it. `observed`: what was read back from the chain at
    `observed_block`, 0 where its row has nothing for the miner; None before that. `rank`: 1 for the largest, equals
    share one. `proposed`: the share after policy, before it was rounded; None where no proposal is kept.
    """

    planned: float
    u16: int
    rank: int | None
    of: int
    proposed: float | None
    observed: float | None = None
    observed_block: int | None = None
    observed_at: datetime | None = None
    slot: str = ""
    """What became of the slot since, such as `recycled`; empty before it was read back, and where it had none."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Somebody whose share a rule moved the other way: its share of the whole before and after.

    `part`: what of that is put down to the miner. Where several lose and several gain, it is in proportion: of all that
    the step moved, the part of who gained times the part of who lost. The parts of all others sum to what the miner
    lost or gained, with the other sign.
    """

    hotkey: Hotkey
    before: float
    after: float
    part: float


@dataclass(frozen=True, slots=True)
class RuleSaid:
    """What one rule of the policy did to the miner: shares of one whole before and after it.

    `reason`: of what was done to the miner itself; empty where it only has more or less because of what was done to
    others. `others`: those who gained what it lost, or lost what it gained, the most first. `moved`: what the rule
    moved from some to others in all. `without`: the share that would have been proposed if the rule alone were left
    out; None for a rule that cannot be.
    """

    rule: str
    before: float
    after: float
    reason: str
    without: float | None
    others: tuple[Moved, ...] = ()
    moved: float | None = None

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class FailedAsk:
    """One ask that brought nothing. `detail`: what was seen of it, in words that may be the miner's own."""

    challenge_id: str
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Asks that were paid nothing for one reason, and the newest of them."""

    reason: str
    said: str
    count: int
    newest: tuple[FailedAsk, ...]


@dataclass(frozen=True, slots=True)
class EarnedSaid:
    """What the miner earned over the lookback: `emission` = mean payout · ramp · coverage.

    `rank` among the `of` who were asked. `full_evidence`: what it took for full pay. `mean_answered`: the mean payout
    over the asks that were answered; None where rounds are not known.
    """

    emission: Emission
    rank: int
    of: int
    since: datetime | None
    until: datetime | None
    half_life_h: float | None
    full_evidence: float
    mean_answered: float | None
    failures: tuple[Failure, ...] = ()
    full_evidence_setting: float | None = None
    """What full pay takes where a window makes as much attainable; None where the terms are not kept."""

    @property
    def attainable(self) -> str:
        """Why full pay takes less evidence than the setting says; empty where it does not."""
        if self.full_evidence_setting is None or self.full_evidence >= self.full_evidence_setting:
            return ""
        return f"what this window makes attainable; the setting is {self.full_evidence_setting:g}"


@dataclass(frozen=True, slots=True)
class LooksSaid:
    """The looks behind coverage: `there` of `looks` since the first it was looked for in found it. `missed`: when it
    was not there, the newest first. `cut_off` looks count for nobody.
    """

    looks: int
    there: int
    cut_off: int
    since: datetime
    missed: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class SourceSaid:
    """Somebody whose answers are taken for those of one source with the miner's. Who was first is not known.

    `rounds` both were compared in; in `alike_rate` of the evidence of these (`evidence`, in rounds) they were worded
    alike, which makes `degree`. `wording`: their mean likeness. `payout_without`: the miner's mean payout if it shared
    no pay with this one, what is said of its answers as it was.
    """

    hotkey: Hotkey
    degree: float
    rounds: int
    evidence: float | None
    alike_rate: float | None
    wording: float | None
    same_address: bool
    same_coldkey: bool
    payout_without: float | None


@dataclass(frozen=True, slots=True)
class SourcesSaid:
    """All of them, the surest first, and the mean payout if the miner shared its pay with none."""

    sources: tuple[SourceSaid, ...] = ()
    payout_without: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """When something was measured that is not made with every setting of weights, the newest before them.

    Of the rounds `since`, up to `at`. `old`: that was so long before that these rounds are hardly those of the weights.
    """

    at: datetime
    since: datetime
    old: bool


@dataclass(frozen=True, slots=True)
class Accused:
    """A pair accused of copying beyond doubt: over so many rounds, worded so alike on average."""

    other: Hotkey
    rounds: int
    mean_wording: float
    measured: Measured


@dataclass(frozen=True, slots=True)
class CanarySaid:
    """How often answers to challenges with a known answer were right: a signal of its own that pays nothing."""

    asked: int
    answered: int
    right: int
    low: float
    high: float
    measured: Measured


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another miner of a round. `vote`: its part of all the votes on the miner's answer; None where it was not compared
    with it, or nobody votes. `wording` and `similarity`: how like the two answers are; `degree`: how far they count as
    one source.
    """

    hotkey: Hotkey
    outcome: str
    payout: float
    vote: float | None = None
    wording: float | None = None
    similarity: float | None = None
    degree: float | None = None


@dataclass(frozen=True, slots=True)
class RoundSaid:
    """One ask: what became of it and what it paid. `weight`: its part in the mean payout; all sum to 1.

    `payout` is what counts; `payout_alone` what the round by itself said. Figures are None for an answer that was not
    compared, and under a profile that has none. `table`: under which name `consensus_scores` and `pair_evidence` have
    it.
    """

    challenge_id: str
    at: datetime
    scorer_version: str
    table: str
    outcome: str
    reason: str
    elapsed_ms: float | None
    words: int
    payout: float
    payout_alone: float
    weight: float
    rank: int
    asked: int
    relevance: float | None = None
    relevance_gate: float | None = None
    agreement: float | None = None
    votes: float | None = None
    vote_weight: float | None = None
    trust: float | None = None
    share: float | None = None
    score: float | None = None
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A round in full: what was asked and answered, cut, and why it was paid what it was paid.

    `why`: best, worst, or asked for. `explanation` is None where the stored rows do not lead to the payout again, or
    are gone; `unexplained` says why. `answer_sha256`: of the decrypted answer as it came.
    """

    why: str
    round: RoundSaid
    prompt: str
    answer: str
    answer_sha256: str
    detail: str
    context_digest: str
    explanation: Explanation | None
    said: tuple[str, ...]
    unexplained: str = ""

    @property
    def title(self) -> str:
        """`why`, in words: asks that failed are no rounds to be explained, and are told by their reasons."""
        return "worst of those answered" if self.why == "worst" else self.why


@dataclass(frozen=True, slots=True)
class ScorerSaid:
    """What a scorer version stands for, and how many of the miner's rounds it scored."""

    version: str
    profile: str
    parameters: Mapping[str, float]
    code_version: int
    model_digest: str
    rounds: int


@dataclass(frozen=True, slots=True)
class FileSaid:
    """A table that the receipt was read from, by its name, and the sha256 of its file as it was written."""

    asset: str
    day: str
    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Why a miner has this weight. `no_weight`: why it has none; empty when it has one.

    `rounds`: every ask of the lookback, the newest first. `shown`: some of them in full, the best before the worst.
    `notes`: what could not be said, and why.
    """

    hotkey: Hotkey
    uid: int | None
    made_at: datetime
    release: str
    epoch: EpochSaid
    weight: WeightSaid
    no_weight: str
    earned: EarnedSaid | None
    rules: tuple[RuleSaid, ...]
    looks: LooksSaid | None
    copies: SourcesSaid
    accused: tuple[Accused, ...]
    canary: CanarySaid | None
    shown: tuple[Shown, ...]
    rounds: tuple[RoundSaid, ...]
    left_out: int
    """Rounds of the lookback that it was asked in and that counted for nobody, for want of pairs."""
    parameters: Mapping[str, float]
    """Those of the profile that pays, by which the window was settled."""
    scorers: tuple[ScorerSaid, ...]
    files: tuple[FileSaid, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        found: dict[str, Any] = {"format": FORMAT, **plain(self)}
        return found

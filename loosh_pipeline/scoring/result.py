"""What scoring a round yields: one row per miner asked, one per pair of answers, and what describes the round."""

from __future__ import annotations

from dataclasses import dataclass

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome, ScorerVersion
from loosh_pipeline.scoring.pairs import PairEvidence


@dataclass(frozen=True, slots=True)
class Measure:
    """What the network's existing method finds in one answer, whichever profile pays; None where it found nothing."""

    quality: float | None
    """The six signals shaped and summed, 0 below the method's gate of relevance."""
    quality_threshold: float
    quality_margin: float | None
    signal_relevance: float | None
    signal_coherence: float | None
    signal_coverage: float | None
    signal_complexity: float | None
    signal_density: float | None
    signal_specificity: float | None
    outlier: bool
    cluster: int | None
    entity_weight: float | None
    """Its vote in consensus, below 1 when others share its address or coldkey; None when no owner is known."""
    length_kept: bool | None
    in_consensus: bool
    removed_by: str
    """The first filter that took it out of consensus; empty when none did."""
    composite: float | None
    emission: float
    """What the method would pay."""


@dataclass(frozen=True, slots=True)
class RoundMeasure:
    """What the network's existing method finds in a round: consensus = mean + spread of the similarities in it."""

    consensus_score: float
    consensus_mean: float
    consensus_spread: float
    consensus_reached: bool
    garbage_alert: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Every quantity that led to one payout; None where it could not be measured.

    With w the view weights of the profile, a payout follows from the row alone:
    agreement = (votes · (Σ w·view / Σ w − baseline_weight · baseline · (w_meaning + w_coverage) / Σ w)
                 + prior_votes · prior_agreement) / (votes + prior_votes),
    score = max(0, agreement) ** power · speed_factor,  payout = share · score / the round's typical score.
    """

    hotkey: Hotkey
    outcome: Outcome
    scored: bool
    reason: str
    """Why it is unscored: its outcome, or a constant of `admission`; empty when scored."""
    words: int
    elapsed_ms: float | None
    relevance: float | None
    """Cosine of answer and question."""
    relevance_gate: float | None
    relevance_margin: float | None
    meaning: float | None
    """Likeness to the peers, the question's direction removed; this and the next two: mean weighted by votes."""
    coverage: float | None
    """How much of what the peers say it says too, at equal length."""
    wording: float | None
    """Likeness of words used."""
    baseline: float | None
    """Likeness to answers of other challenges, the question removed."""
    agreement: float | None
    votes: float
    """Sum of the votes of independent peers it was compared with."""
    vote_weight: float
    """Weight of its own vote; copies split one."""
    copy_group_size: float | None
    """What its vote is divided by: 1 for an independent answer, n for one of n exact copies."""
    copies: tuple[Hotkey, ...]
    """Who gave the same answer, all but for details: copy degree of at least one half."""
    share: float
    """Part of one pay left after sharing it with blatant copies; 0 when unscored."""
    speed_factor: float
    score: float
    payout: float
    """1 for an average independent answer, exactly 0 when unscored."""
    measure: Measure | None = None


@dataclass(frozen=True, slots=True)
class RoundScores:
    """The scores of one round under one profile, in the order in which its responses were given.

    `pairs`: one for every two comparable answers, sorted. `measure`: None when the network's method found nothing to
    measure, or the vectors it reads were not given. `typical_score`: the score that earns a payout of 1; 0 when nobody
    earned anything, and for a profile that knows none.
    """

    challenge_id: ChallengeId
    profile: str
    scorer_version: ScorerVersion
    context_digest: str
    scores: tuple[Score, ...]
    pairs: tuple[PairEvidence, ...]
    measure: RoundMeasure | None
    typical_score: float

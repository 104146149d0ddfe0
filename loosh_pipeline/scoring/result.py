"""What scoring a round yields: one flat row per miner asked, and what describes the round as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome, ScorerVersion


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
    relevance_gate: float
    relevance_margin: float | None
    meaning: float | None
    """Likeness to the peers, the question's direction removed; this and the next two: mean weighted by votes."""
    coverage: float | None
    """How much of what the peers say it says too."""
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
    """Whose answers are copies of this one (or it of theirs): copy degree of at least one half."""
    share: float
    """Part of one pay left after sharing it with blatant copies; 0 when unscored."""
    speed_factor: float
    score: float
    payout: float
    """1 for an average independent answer, exactly 0 when unscored."""


@dataclass(frozen=True, eq=False)
class RoundScores:
    """The scores of one round, in the order in which its responses were given.

    `similarity`: (n, n) cosine of the whole-answer vectors of the answers that could be compared, in the order of
    `similarity_hotkeys` (sorted). `consensus_score`: mean of that cosine over pairs of answers that passed the
    gate, a pair weighing the product of its two votes; None with fewer than two of them. `typical_score`: the
    score that earns a payout of 1; 0 when nobody earned anything.
    """

    challenge_id: ChallengeId
    scorer_version: ScorerVersion
    context_digest: str
    scores: tuple[Score, ...]
    similarity: NDArray[np.float64] = field(repr=False)
    similarity_hotkeys: tuple[Hotkey, ...]
    consensus_score: float | None
    typical_score: float

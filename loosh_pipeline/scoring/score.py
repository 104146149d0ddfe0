"""The one way to score a round under any profile."""

from __future__ import annotations

from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network_rows import score_network_round
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round


def score(round_: Round, context: ScoringContext, profile: ScoringProfile, model_digest: str) -> RoundScores:
    """The scores of a round under a profile. Raises ValueError when the round or the context does not fit it."""
    if isinstance(profile, NetworkProfile):
        return score_network_round(round_, context, profile, model_digest)
    return score_round(round_, context, profile, model_digest)

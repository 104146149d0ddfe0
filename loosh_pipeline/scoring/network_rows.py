"""A round scored by the network's existing method, in the same rows as any other profile."""

from __future__ import annotations

from loosh_pipeline.domain import Hotkey, Outcome
from loosh_pipeline.scoring.admission import admit
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.measure import network_measure, usable_reply
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.pairs import pair_evidence
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import Measure, RoundScores, Score
from loosh_pipeline.scoring.round import REPLIED, Round, RoundResponse
from loosh_pipeline.scoring.signals import measure
from loosh_pipeline.scoring.text import words

NOT_MEASURABLE = "not_measurable"
"""A reply whose vectors or time cannot be used, or a round whose times are all 0."""


def score_network_round(
    round_: Round, context: ScoringContext, profile: NetworkProfile, model_digest: str = ""
) -> RoundScores:
    """The emissions of a round as payouts. Pairs and relevance are measured as ever; nobody votes on them here.

    Raises ValueError when the round lacks the vectors that the method reads.
    """
    if not round_.text_vectors:
        raise ValueError(
            f"challenge {round_.challenge_id}: no vectors of the texts that profile {profile.name!r} reads; "
            "materialize its embeddings again"
        )
    round_measure, measures = network_measure(round_, profile)
    signals = measure(admit(round_)[0], round_, context, RobustProfile())
    relevance = dict(zip(signals.hotkeys, map(float, signals.relevance), strict=True))
    places = {response.hotkey: (response.ip, response.coldkey) for response in round_.responses}
    return RoundScores(
        challenge_id=round_.challenge_id,
        profile=profile.name,
        scorer_version=scorer_version(profile, model_digest),
        context_digest=context.digest,
        scores=tuple(_score(r, measures, _reason(round_, r, measures, profile), relevance) for r in round_.responses),
        pairs=tuple(pair_evidence(signals, RobustProfile(), places)),
        measure=round_measure,
        typical_score=0.0,
    )


def _reason(round_: Round, response: RoundResponse, measures: dict[Hotkey, Measure], profile: NetworkProfile) -> str:
    if response.outcome not in REPLIED:
        return response.outcome.value
    if response.hotkey not in measures or not usable_reply(round_, response, profile):
        return NOT_MEASURABLE
    return ""


def _score(
    response: RoundResponse, measures: dict[Hotkey, Measure], reason: str, relevance: dict[Hotkey, float]
) -> Score:
    measured = measures.get(response.hotkey)
    paid = measured.emission if measured else 0.0
    return Score(
        hotkey=response.hotkey,
        outcome=response.outcome,
        scored=not reason,
        reason=reason,
        words=len(words(response.text)) if response.outcome is Outcome.ANSWERED else 0,
        elapsed_ms=response.elapsed_ms,
        relevance=relevance.get(response.hotkey),
        relevance_gate=None,
        relevance_margin=None,
        meaning=None,
        coverage=None,
        wording=None,
        baseline=None,
        agreement=None,
        votes=0.0,
        vote_weight=0.0,
        copy_group_size=None,
        copies=(),
        share=1.0 if measured else 0.0,
        speed_factor=1.0,
        score=paid,
        payout=paid,
        measure=measured,
    )

"""The robust scorer: an answer is paid for agreeing with independent, relevant peers.

    gate       an answer to something else gets no pay and no vote
    agreement  likeness in meaning, coverage at equal length, and wording, less what answers to anything share
    votes      copies share one vote and never vote for each other; who agrees with nobody has none
    pay        agreement ** power, scaled so that an average independent answer earns 1
    sharing    blatant copies of one round split one pay

What needs more than one round, who is one source and whose vote has proved worth more, is added by `window.settle`.
A meaning threshold cannot tell copies from honest agreement; likeness of wording can, so copies are told by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.admission import NO_AGREEMENT, OFF_TOPIC, Answers, admit
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.measure import network_measure
from loosh_pipeline.scoring.pairs import pair_evidence
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import Measure, RoundScores, Score
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.signals import Signals, measure
from loosh_pipeline.scoring.votes import Verdict, judge


def score_round(round_: Round, context: ScoringContext, profile: RobustProfile, model_digest: str = "") -> RoundScores:
    """One score per response asked, in the order given; pure, and bit for bit the same in any order of replies.

    `model_digest` identifies the embedding model in the scorer version. Raises ValueError when the context's
    background has another width than the round's vectors.
    """
    answers, reasons = admit(round_)
    signals = measure(answers, round_, context, profile)
    verdict = judge(signals, profile)
    reasons |= _verdict_reasons(answers, verdict)
    round_measure, measures = network_measure(round_)
    scores = _Rows(answers, signals, verdict, profile, reasons, measures)
    places = {response.hotkey: (response.ip, response.coldkey) for response in round_.responses}
    return RoundScores(
        challenge_id=round_.challenge_id,
        profile=profile.name,
        scorer_version=scorer_version(profile, model_digest),
        context_digest=context.digest,
        scores=tuple(scores.row(response) for response in round_.responses),
        pairs=tuple(pair_evidence(signals, profile, places)),
        measure=round_measure,
        typical_score=verdict.typical,
    )


def _verdict_reasons(answers: Answers, verdict: Verdict) -> dict[Hotkey, str]:
    passed = zip(answers.hotkeys, verdict.passed, verdict.vote.voters, strict=True)
    return {hotkey: NO_AGREEMENT if ok else OFF_TOPIC for hotkey, ok, voter in passed if not voter}


class _Rows:
    """The rows of a round's score table."""

    def __init__(
        self,
        answers: Answers,
        signals: Signals,
        verdict: Verdict,
        profile: RobustProfile,
        reasons: Mapping[Hotkey, str],
        measures: Mapping[Hotkey, Measure],
    ) -> None:
        self._at = {hotkey: i for i, hotkey in enumerate(answers.hotkeys)}
        self._words = {hotkey: len(bag) for hotkey, bag in zip(answers.hotkeys, answers.words, strict=True)}
        self._signals, self._verdict, self._profile = signals, verdict, profile
        self._reasons, self._measures = reasons, measures

    def row(self, response: RoundResponse) -> Score:
        i = self._at.get(response.hotkey)
        return self._unscored(response) if i is None else self._compared(response, i)

    def _compared(self, response: RoundResponse, i: int) -> Score:
        verdict, vote, gate = self._verdict, self._verdict.vote, self._profile.relevance_gate
        relevance, heard = float(self._signals.relevance[i]), vote.heard[i] > 0
        reason = self._reasons.get(response.hotkey, "")
        return Score(
            hotkey=response.hotkey,
            outcome=response.outcome,
            scored=not reason,
            reason=reason,
            words=self._words[response.hotkey],
            elapsed_ms=response.elapsed_ms,
            relevance=relevance,
            relevance_gate=gate,
            relevance_margin=relevance - gate,
            meaning=float(vote.meaning[i]) if heard else None,
            coverage=float(vote.coverage[i]) if heard else None,
            wording=float(vote.wording[i]) if heard else None,
            baseline=float(self._signals.baseline[i]),
            agreement=float(vote.agreement[i]),
            votes=float(vote.heard[i]),
            vote_weight=float(vote.weight[i]),
            copy_group_size=float(vote.group_size[i]),
            copies=tuple(h for h, j in self._at.items() if j != i and verdict.copies[i, j] >= 0.5),
            share=float(verdict.share[i]),
            speed_factor=float(verdict.speed_factor[i]),
            score=float(verdict.score[i]),
            payout=float(verdict.payout[i]),
            measure=self._measures.get(response.hotkey),
        )

    def _unscored(self, response: RoundResponse) -> Score:
        return Score(
            hotkey=response.hotkey,
            outcome=response.outcome,
            scored=False,
            reason=self._reasons[response.hotkey],
            words=0,
            elapsed_ms=response.elapsed_ms,
            relevance=None,
            relevance_gate=self._profile.relevance_gate,
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
            share=0.0,
            speed_factor=1.0,
            score=0.0,
            payout=0.0,
            measure=self._measures.get(response.hotkey),
        )

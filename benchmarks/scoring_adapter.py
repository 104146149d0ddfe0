"""The default profile behind the interface of a yardstick that gives rounds of embedded answers.

`score_rounds(rounds)` returns one {identity: payout} per round. It calls what `consensus_scores` and `emissions`
call: a context of the given rounds, each round scored by itself, the window of all of them settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.context import build_context
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import mean_direction
from loosh_pipeline.scoring.window import settle

DEFAULT_PROFILE = RobustProfile()


class YardstickRound(Protocol):
    """A round of the yardstick: `chunks` and `sentences` are one (m, d) array per answer, `prompt_vector` is (d,)."""

    ids: list[str]
    texts: list[str]
    seconds: list[float]
    chunks: list[Any]
    sentences: list[Any]
    prompt_vector: Any


def score_rounds(rounds: Sequence[YardstickRound], profile: RobustProfile = DEFAULT_PROFILE) -> list[dict[str, float]]:
    """The settled payout of every identity of every round, 0 for whoever was not scored."""
    ours = [_round(each, number) for number, each in enumerate(rounds)]
    past = ((_texts(each), np.array([mean_direction(r.chunks) for r in _answered(each)])) for each in ours)
    context = build_context(past, dim=len(ours[0].prompt_vector))
    settled = settle([score_round(each, context, profile) for each in ours], profile).payouts()
    return [{r.hotkey: settled.get(each.challenge_id, {}).get(r.hotkey, 0.0) for r in each.responses} for each in ours]


def _round(given: YardstickRound, number: int) -> Round:
    responses = tuple(
        RoundResponse(
            hotkey=Hotkey(identity),
            outcome=Outcome.ANSWERED if text.strip() else Outcome.EMPTY,
            text=text,
            elapsed_ms=1000.0 * seconds,
            chunks=np.asarray(chunks),
            sentences=np.asarray(sentences),
        )
        for identity, text, seconds, chunks, sentences in zip(
            given.ids, given.texts, given.seconds, given.chunks, given.sentences, strict=True
        )
    )
    return Round(ChallengeId(f"{number:06d}"), np.asarray(given.prompt_vector), responses)


def _answered(round_: Round) -> list[RoundResponse]:
    return [each for each in round_.responses if each.outcome is Outcome.ANSWERED]


def _texts(round_: Round) -> list[str]:
    return [each.text for each in _answered(round_)]

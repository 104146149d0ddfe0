"""Which answers can be compared at all, and why the others cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import Hotkey, Outcome
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.text import TEST_MODE, is_test_mode, words
from loosh_pipeline.scoring.vectors import mean_direction, unit_rows

EMPTY = "empty"
NOT_EMBEDDED = "not_embedded"
EMBEDDING_NOT_FINITE = "embedding_not_finite"
EMBEDDING_ZERO = "embedding_zero"
ELAPSED_NOT_FINITE = "elapsed_not_finite"
ELAPSED_NEGATIVE = "elapsed_negative"
OFF_TOPIC = "off_topic"
NO_AGREEMENT = "no_agreement"


@dataclass(frozen=True, eq=False)
class Answers:
    """The comparable answers of a round, sorted by hotkey; every array has one row or entry per answer.

    `vectors`: (n, d) unit, the mean direction of the chunks. `sentences`: per answer (s, d) unit rows.
    `elapsed_ms`: NaN where unknown.
    """

    hotkeys: tuple[Hotkey, ...]
    words: tuple[list[str], ...]
    vectors: NDArray[np.float64]
    sentences: tuple[NDArray[np.float64], ...]
    elapsed_ms: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hotkeys)


def admit(round_: Round) -> tuple[Answers, dict[Hotkey, str]]:
    """The comparable answers, and the reason of everyone else. One bad response never stops the round."""
    bags = {r.hotkey: words(r.text) for r in round_.responses if r.outcome is Outcome.ANSWERED}
    reasons = {r.hotkey: refusal(r, bags.get(r.hotkey, [])) for r in round_.responses}
    directions = {r.hotkey: mean_direction(r.chunks) for r in round_.responses if not reasons[r.hotkey]}
    reasons |= {hotkey: EMBEDDING_ZERO for hotkey, direction in directions.items() if not direction.any()}
    # sorted, so that the order in which replies came in changes no bit of any sum
    ordered = sorted((r for r in round_.responses if not reasons[r.hotkey]), key=lambda r: r.hotkey)
    dim = len(round_.prompt_vector)
    answers = Answers(
        hotkeys=tuple(r.hotkey for r in ordered),
        words=tuple(bags[r.hotkey] for r in ordered),
        vectors=np.array([directions[r.hotkey] for r in ordered]).reshape(-1, dim),
        sentences=tuple(unit_rows(r.sentences) for r in ordered),
        elapsed_ms=np.array([math.nan if r.elapsed_ms is None else r.elapsed_ms for r in ordered], dtype=float),
    )
    return answers, {hotkey: reason for hotkey, reason in reasons.items() if reason}


def refusal(response: RoundResponse, bag: list[str]) -> str:
    """Why a response cannot be compared; an empty string when it can, unless its vectors cancel."""
    elapsed_ms = response.elapsed_ms
    if response.outcome is not Outcome.ANSWERED:
        return response.outcome.value
    if not bag:
        return EMPTY
    if is_test_mode(response.text):
        return TEST_MODE
    if elapsed_ms is not None and not math.isfinite(elapsed_ms):
        return ELAPSED_NOT_FINITE
    if elapsed_ms is not None and elapsed_ms < 0:
        return ELAPSED_NEGATIVE
    if not len(response.chunks):
        return NOT_EMBEDDED
    if not (np.isfinite(response.chunks).all() and np.isfinite(response.sentences).all()):
        return EMBEDDING_NOT_FINITE
    return ""

"""What is measured of the answers of one round before anyone votes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.admission import Answers
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.coverage import coverage
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.round import Round
from loosh_pipeline.scoring.vectors import unit_vector
from loosh_pipeline.scoring.wording import word_weight, wording_similarity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Signals:
    """n comparable answers, sorted by hotkey: (n,) vectors and (n, n) matrices.

    `similarity`: cosine of whole answers. `meaning`: the same with the question's direction removed, so an answer
    that only restates it has little. `coverage`[i, j]: how much of j is said by i. `wording`: likeness of words.
    `baseline`: likeness to answers of other challenges. `elapsed_ms`: NaN where unknown.
    """

    hotkeys: tuple[Hotkey, ...]
    words: Floats
    elapsed_ms: Floats
    relevance: Floats
    baseline: Floats
    similarity: Floats
    meaning: Floats
    coverage: Floats
    wording: Floats

    def __len__(self) -> int:
        return len(self.hotkeys)


@dataclass(frozen=True, eq=False)
class Batch:
    """What is judged by of R rounds of n answers each, as in `Signals`: (R, n) and (R, n, n).

    All that is worked out of a round is worked out along its own last axes, so it is the same whoever is beside it.
    """

    words: Floats
    elapsed_ms: Floats
    relevance: Floats
    baseline: Floats
    meaning: Floats
    coverage: Floats
    wording: Floats

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(each.name for each in fields(cls))

    @classmethod
    def of_one(cls, signals: Signals) -> Self:
        return cls(*(getattr(signals, name)[np.newaxis] for name in cls.names()))

    def __len__(self) -> int:
        return len(self.relevance)

    def part(self, rounds: slice | Ints) -> Self:
        """Those rounds alone."""
        return type(self)(*(getattr(self, name)[rounds] for name in self.names()))


def measure(answers: Answers, round_: Round, context: ScoringContext, profile: RobustProfile) -> Signals:
    """The signals of the comparable answers of a round.

    Raises ValueError when the context's background has another width than the round's vectors.
    """
    question = unit_vector(round_.prompt_vector)
    # row by row: a matrix product rounds an answer's figure otherwise when another answer is there
    relevance = np.clip((answers.vectors * question).sum(axis=1), -1.0, 1.0)
    added = answers.vectors - np.outer(relevance, question)
    elsewhere = _background(context, profile, question)
    return Signals(
        hotkeys=answers.hotkeys,
        words=np.array([len(bag) for bag in answers.words], dtype=float),
        elapsed_ms=answers.elapsed_ms,
        relevance=relevance,
        baseline=added @ (elsewhere - (elsewhere @ question) * question),
        similarity=mirrored(np.clip(answers.vectors @ answers.vectors.T, -1.0, 1.0)),
        meaning=mirrored(added @ added.T),
        coverage=coverage(answers.sentences),
        wording=wording_similarity(answers.words, word_weight(context, profile)),
    )


def mirrored(matrix: Floats) -> Floats:
    """The upper triangle on both sides of a diagonal of ones: exactly what is stored of a symmetric measure."""
    upper = np.triu(matrix, k=1)
    whole: Floats = upper + upper.T + np.eye(len(matrix))
    return whole


def _background(context: ScoringContext, profile: RobustProfile, question: Floats) -> Floats:
    background = context.background
    if background is None or context.rounds < profile.context_rounds:
        return np.zeros_like(question)
    if background.shape != question.shape:
        raise ValueError(
            f"the context's background has shape {background.shape}, the round's vectors {question.shape}; "
            "rebuild the context with the embedding model of the round"
        )
    return background

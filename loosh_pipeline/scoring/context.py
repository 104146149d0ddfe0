"""What a round is compared with beyond itself: how common words are, and what any answer sounds like."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.scoring.text import words
from loosh_pipeline.scoring.vectors import Vectors


@dataclass(frozen=True, eq=False)
class ScoringContext:
    """Document frequencies and the background vector, over `rounds` past rounds.

    `document_frequency`: rounds in which a word occurred in any answer. Counted once per round, so that copies
    inside a round cannot move it. `background`: (d,) mean answer vector over rounds, not unit; None is zero.
    `digest` identifies the content and stands in every score row.
    """

    rounds: int
    document_frequency: Mapping[str, int] = field(repr=False)
    background: NDArray[np.float64] | None = field(repr=False)
    digest: str

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}; a context counts zero or more rounds")
        if self.background is not None and not np.abs(self.background).max(initial=0.0) <= 1.01:
            raise ValueError(
                "the background vector is not a mean of unit vectors; rebuild the context from the embeddings"
            )

    @classmethod
    def of(cls, rounds: int, document_frequency: Mapping[str, int], background: Vectors | None) -> Self:
        """A context with the digest of its content. Raises ValueError for what cannot be one."""
        mean = None if background is None else np.asarray(background, dtype=np.float64)
        return cls(rounds, document_frequency, mean, _digest(rounds, document_frequency, mean))

    @classmethod
    def empty(cls, dim: int) -> Self:
        """The context of a young validator: no rounds, no frequencies, a zero background of `dim`."""
        return cls.of(0, {}, np.zeros(dim))


def build_context(rounds: Iterable[tuple[Sequence[str], Vectors]], dim: int) -> ScoringContext:
    """The context of past rounds, each given as (texts of its answers, (n, dim) their answer vectors).

    Every round counts once in both parts, however many answered. Words of a single round are left out: the
    scorer weighs them as it weighs an unseen word, and nobody can then make the context grow by nonsense.
    """
    seen: Counter[str] = Counter()
    total, embedded, count = np.zeros(dim), 0, 0
    for texts, vectors in rounds:
        count += 1
        seen.update({word for text in texts for word in words(text)})
        if len(vectors):
            total += np.asarray(vectors, dtype=np.float64).mean(axis=0)
            embedded += 1
    frequency = {word: rounds_seen for word, rounds_seen in sorted(seen.items()) if rounds_seen > 1}
    return ScoringContext.of(count, frequency, total / max(embedded, 1))


def _digest(rounds: int, frequency: Mapping[str, int], background: NDArray[np.float64] | None) -> str:
    counts = json.dumps([rounds, sorted(frequency.items())], ensure_ascii=False, separators=(",", ":"))
    mean = b"" if background is None else background.astype("<f8").tobytes()
    return hashlib.sha256(counts.encode() + b"\0" + mean).hexdigest()

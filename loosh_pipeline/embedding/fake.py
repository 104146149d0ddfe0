"""A test double: vectors from hashed words, so that texts that share words are alike. Not a language model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from loosh_pipeline.embedding.port import Piece, Rows
from loosh_pipeline.scoring.text import words


class HashingEmbedder:
    """A deterministic `ServableEmbedder` for tests: signed bag-of-words hashing into `dim` buckets."""

    model_id = "hashing-test-double"
    backend = "hashing"
    lanes = 1
    batch_tokens = 512

    def __init__(self, dim: int = 384) -> None:
        self._dim = dim
        self.calls: list[tuple[str, ...]] = []

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.model_id}:{self._dim}".encode()).hexdigest()

    @property
    def dim(self) -> int:
        return self._dim

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(words(text)) for text in texts)

    def prepare(self, texts: Sequence[str]) -> list[Piece]:
        return [Piece(tokens := len(words(text)), max(1, tokens), text) for text in texts]

    def run(self, pieces: Sequence[Piece]) -> Rows:
        return self.embed([piece.content for piece in pieces])

    def embed(self, texts: Sequence[str]) -> Rows:
        self.calls.append(tuple(texts))
        rows = np.zeros((len(texts), self._dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text) or [""]:
                bucket = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
                row[bucket % self._dim] += 1.0 if bucket >> 63 else -1.0
            row[0] += 0.0 if row.any() else 1.0
        unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

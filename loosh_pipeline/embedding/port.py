"""The narrow port through which the project asks for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
DIGEST_HEADER = "X-Model-Digest"
"""What our server states in every answer, and its client checks."""


class Embedder(Protocol):
    """Something that embeds texts. `digest` identifies the model: equal digests, comparable vectors."""

    @property
    def digest(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Rows:
        """(n, dim) float32 unit rows in the order of `texts`; (0, dim) for none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A text as a model reads it: of `tokens` tokens, run padded to `width`; `content` is the model's own affair."""

    tokens: int
    width: int
    content: Any


class ServableEmbedder(Embedder, Protocol):
    """An embedder that a server can name, and feed with batches of its own making."""

    @property
    def model_id(self) -> str: ...

    @property
    def backend(self) -> str:
        """What runs the model, for logs."""
        ...

    @property
    def lanes(self) -> int:
        """How many threads may `run` at once."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Padded tokens a batch, at most, unless it is of one text."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens the model reads of all texts together."""
        ...

    def prepare(self, texts: Sequence[str]) -> list[Piece]:
        """Texts made ready to be run; by any thread."""
        ...

    def run(self, pieces: Sequence[Piece]) -> Rows:
        """Unit rows of one batch, whose pieces are of one width."""
        ...

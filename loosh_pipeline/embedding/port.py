"""The narrow port through which the project asks for vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Embedder(Protocol):
    """Something that embeds texts. `digest` identifies the model: equal digests, comparable vectors."""

    @property
    def digest(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Rows:
        """(n, dim) float32 unit rows in the order of `texts`; (0, dim) for none."""
        ...


class ServableEmbedder(Embedder, Protocol):
    """An embedder that a server can put a name and a token count to."""

    @property
    def model_id(self) -> str: ...

    @property
    def backend(self) -> str:
        """What runs the model, for logs."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens the model reads of all texts together."""
        ...

"""How much of one answer another says too, sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def coverage(sentences: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(n, n) c_ij = mean over j's sentences of the best cosine among i's: how much of j is said by i.

    Each item is (s, d) unit rows. An answer without sentences covers nothing, and nothing of it can be covered:
    0, except 1 on the diagonal.
    """
    said = [i for i, rows in enumerate(sentences) if len(rows)]
    table = np.zeros((len(sentences), len(sentences)))
    if said:
        stacked = np.concatenate([sentences[i] for i in said])
        sizes = np.array([len(sentences[i]) for i in said])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        for i in said:
            best = (stacked @ sentences[i].T).max(axis=1)
            table[i, said] = np.add.reduceat(best, starts) / sizes
    np.fill_diagonal(table, 1.0)
    return table

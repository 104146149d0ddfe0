"""How much of one answer another says too, sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SLAB = 512
"""Sentences compared with all others at a time: what bounds the memory of a large round."""


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
        slabs = (stacked[at : at + SLAB] @ stacked.T for at in range(0, len(stacked), SLAB))
        # (S, n): of each sentence of anybody, the best match that each answer has
        best = np.concatenate([np.maximum.reduceat(cosines, starts, axis=1) for cosines in slabs])
        table[np.ix_(said, said)] = (np.add.reduceat(best, starts, axis=0) / sizes[:, np.newaxis]).T
    np.fill_diagonal(table, 1.0)
    return table

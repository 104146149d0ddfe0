"""Cosines of rows, in the precision of the rows: the network's thresholds see the rounding of single precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.scoring.vectors import Vectors


def unit_rows(rows: Vectors) -> Vectors:
    """Rows of length 1, (…, d) → (…, d); a zero row stays zero."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: Vectors = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit


def cosines(rows: Vectors) -> Vectors:
    """Cosine of every two rows, (n, d) → (n, n). The diagonal is 1 but for rounding."""
    unit = unit_rows(rows)
    similarity: Vectors = unit @ unit.T
    return similarity


def pair_values(matrix: Vectors) -> NDArray[np.float64]:
    """The values above the diagonal, row by row, (n, n) → (n(n-1)/2,)."""
    values: NDArray[np.float64] = matrix[np.triu_indices(len(matrix), k=1)].astype(np.float64)
    return values


def mean_to_others(matrix: Vectors, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of every row over the other columns, weighted, (n, n), (n,) → (n,); unweighted where the weights sum to 0.

    0 for a row that has no other column.
    """
    others = np.where(np.eye(len(matrix), dtype=bool), 0.0, weights)
    without = np.where(np.eye(len(matrix), dtype=bool), 0.0, 1.0)
    others = np.where(others.sum(axis=1, keepdims=True) > 0, others, without)
    total = others.sum(axis=1)
    mean: NDArray[np.float64] = np.divide(
        (others * matrix).sum(axis=1), total, out=np.zeros(len(matrix)), where=total > 0
    )
    return mean

"""Unit vectors, safe for any finite input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]


def unit_rows(rows: Vectors) -> NDArray[np.float64]:
    """Rows of length 1 as float64, (n, d) → (n, d); a zero row stays zero. Neither overflows nor underflows."""
    exact = np.asarray(rows, dtype=np.float64)
    largest = np.abs(exact).max(axis=-1, keepdims=True, initial=0.0)
    scaled = np.divide(exact, largest, out=np.zeros_like(exact), where=largest > 0)
    length = np.linalg.norm(scaled, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
    return unit


def unit_vector(vector: Vectors) -> NDArray[np.float64]:
    """One vector, (d,), scaled to length 1; zero stays zero."""
    unit: NDArray[np.float64] = unit_rows(vector[np.newaxis])[0]
    return unit


def mean_direction(rows: Vectors) -> NDArray[np.float64]:
    """Unit mean of the directions of rows, (c, d) → (d,): the vector of a whole text. Zero when they cancel."""
    mean: NDArray[np.float64] = unit_rows(rows).mean(axis=0)
    return unit_vector(mean)

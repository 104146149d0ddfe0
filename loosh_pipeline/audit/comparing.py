"""Whether a figure is the one that was stated, as far as machines may differ in its last digits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from loosh_pipeline.scoring.signals import Flags

FROM_ROWS, FROM_VECTORS = 1e-9, 1e-6
"""Of figures made of stored rows, and of those measured on vectors: relative, and absolute below 1."""
_MOMENT = timedelta(milliseconds=1)


def apart(stated: Any, found: Any, tolerance: float) -> Flags:
    """Where two arrays, or numbers, differ; NaN is like NaN, and infinity like itself alone."""
    one, other = np.asarray(stated, dtype=float), np.asarray(found, dtype=float)
    finite = np.isfinite(one) & np.isfinite(other)
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.abs(one - other) <= tolerance * np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
    differs: Flags = ~((finite & close) | (one == other) | (np.isnan(one) & np.isnan(other)))
    return differs


def same(stated: Any, found: Any, tolerance: float = FROM_ROWS) -> bool:
    """Whether two plain values are the same, numbers within the tolerance and times within a millisecond."""
    if isinstance(stated, float) and isinstance(found, float):
        return not bool(apart(stated, found, tolerance))
    if isinstance(stated, datetime) and isinstance(found, datetime):
        return abs(stated - found) < _MOMENT
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        return stated.keys() == found.keys() and all(same(stated[key], found[key], tolerance) for key in stated)
    return bool(stated == found)

"""What a proposal was made of, in a word."""

from __future__ import annotations

from enum import StrEnum


class Basis(StrEnum):
    LOOKBACK = "lookback"
    LONGER_LOOKBACK = "longer_lookback"
    IMPORTED = "imported"
    LAST_VECTOR = "last_vector"
    UNIFORM = "uniform"
    NOTHING = "nothing"


EARNED = frozenset({Basis.LOOKBACK, Basis.LONGER_LOOKBACK})
"""The bases of what was earned here; behind the others stands no round of this validator."""

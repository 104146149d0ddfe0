"""Lines as small as a word: a path for an inline SVG, as pages may carry no style of their own."""

from __future__ import annotations

from collections.abc import Sequence

STEP, HEIGHT = 4, 14
"""Units of the picture from one value to the next, and from 0 to its top."""


def spark(values: Sequence[float]) -> str:
    """The path from the first value to the last, from 0 at the bottom to the largest at the top."""
    top = max(values, default=0.0)
    ends = (
        f"{STEP * place} {HEIGHT - 1 - round((HEIGHT - 2) * value / top) if top > 0 else HEIGHT - 1}"
        for place, value in enumerate(values)
    )
    return "M" + " ".join(ends) if values else ""


def box(count: int) -> str:
    """The view box of so many values."""
    return f"0 0 {max(STEP * (count - 1), 1)} {HEIGHT}"

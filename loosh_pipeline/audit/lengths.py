"""Lengths of time as people type them."""

from __future__ import annotations

import re

HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}


def hours_in(text: str) -> float | None:
    """24h, 90m and 1.5d, in hours; None for anything else."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([mhd])", text.strip())
    return None if found is None else float(found[1]) * HOURS[found[2]]

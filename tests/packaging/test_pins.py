"""What pip and uv install is the same set."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_uv_is_held_to_the_constraints_of_pip() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = [line.strip() for line in lines if "==" in line and not line.startswith("#")]
    assert len(pinned) > 100
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["constraint-dependencies"] == pinned
    )

"""Killed in the middle of a day, scoring again begins anew and leaves what it would have left without."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from loosh_pipeline.devnet.stored_rounds import Sample
from loosh_pipeline.rescoring.rounds import AT_ONCE
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import PAIRS, SCORES
from loosh_pipeline.store.tables import Tables
from tests.rescoring.kept import DAY, ROBUST, keep, rescored

NAMES = [f"c-{n:03}" for n in range(3 * AT_ONCE)]
EVERY_FILE = 7
"""What a scorer is, then pairs and scores of three steps."""


def kept(tables: Tables) -> dict[tuple[str, str], str]:
    """By asset and table, the digest of its bytes."""
    found = [(asset, key) for asset in (PAIRS, SCORES) for key, _ in tables.each(asset, DAY)]
    assert len(found) == len(set(found)), "nothing is there twice"
    return {(asset, key.file): tables.describe(asset, key).sha256 for asset, key in found}


def killed(root: Path, number: int) -> list[str]:
    """What it said; its processes have ended too."""
    command = [sys.executable, "-m", "tests.rescoring.killed", str(root), str(number)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    deadline_s = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in said if pid != "done"):
        assert time.monotonic() < deadline_s, f"of {said} one is left"
        time.sleep(0.05)
    return said


@pytest.mark.slow
def test_killed_at_any_file_it_is_complete_the_next_time(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, NAMES)
    assert "done" in killed(tmp_path, EVERY_FILE)
    whole = kept(tables)
    assert len(whole) == 2 * len(NAMES)
    rows = {asset: [frame for _, frame in tables.each(asset, DAY)] for asset in (PAIRS, SCORES)}
    for number in range(EVERY_FILE):
        for asset in (PAIRS, SCORES):
            tables.remove_day(asset, DAY)
        assert "done" not in killed(tmp_path, number)
        there = kept(tables)
        assert there.items() <= whole.items(), f"before file {number}"
        assert len(there) == max(0, number - 1) * AT_ONCE
        assert len(rescored(tmp_path, tables, inbox, ROBUST, 0)) == len(NAMES)
        assert kept(tables) == whole, f"before file {number}"
        for asset, frames in rows.items():
            again = [frame for _, frame in tables.each(asset, DAY)]
            assert all(one.equals(other) for one, other in zip(frames, again, strict=True))

"""A backup of many tables: none of it grows in memory with their number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loosh_pipeline.backup.places import Places

TABLES = 50_000
GROWTH_MIB = 24

TAKE_AND_CHECK = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import check_backup
from loosh_pipeline.backup.taking import take_backup
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
taken = take_backup(Places.usual(Path(sys.argv[1])), Path(sys.argv[2]), datetime.now(UTC))
assert check_backup(taken.path) == taken.manifest
print(taken.manifest.files, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.scale
def test_a_backup_of_many_tables_needs_little_memory(places: Places, tmp_path: Path) -> None:
    assert places.tables is not None
    for day in range(1, 11):
        folder = places.tables / "consensus_scores" / f"day=2026-01-{day:02}"
        folder.mkdir(parents=True)
        for number in range(TABLES // 10):
            (folder / f"c-{number}.v1.parquet").write_bytes(b"PAR1")
    command = [sys.executable, "-c", TAKE_AND_CHECK, str(places.home), str(tmp_path / "b.tar")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    files, grown_mib = map(int, ended.stdout.split())
    assert files == TABLES + 4
    assert grown_mib < GROWTH_MIB

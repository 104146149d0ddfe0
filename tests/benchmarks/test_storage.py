"""The benchmark of Dagster's storages, for a moment: that it counts, not how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.storage import measure, storages
from tests.postgres import new_database, running_postgres


@pytest.mark.slow
def test_every_storage_is_measured(tmp_path: Path) -> None:
    with running_postgres() as server:
        for storage in storages(tmp_path, new_database(server, "dagster")).values():
            found = measure(storage, 1)
            assert 0 < found["cpu_s"] < 60
            assert found["wall_s"] > 0

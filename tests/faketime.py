"""Processes whose clock is not this machine's."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def faked(file: Path) -> dict[str, str]:
    """The environment in which processes take the time of day from the system's, plus what the file says."""
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.submodule_search_locations is not None
    library = Path(next(iter(found.submodule_search_locations))) / "vendor/libfaketime/src/libfaketime.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }

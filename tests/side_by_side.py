"""Which tests stay together where several processes share them (`pytest -n 2`)."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    # Whole validators and databases: one at a time, or each would wait for the other's cores.
    "tests/e2e/": "validators",
    "tests/machines/": "validators",
    "tests/benchmarks/": "validators",
    "tests/docs/test_on_a_devnet.py": "validators",
    # A served home and a browser are made once.
    "tests/browser/": "browser",
    # The model is loaded and exported once.
    "tests/embedding/": "model",
    "tests/scoring/network/": "model",
}


class ByFile(LoadScopeScheduling):
    """Tests of a file run in one process, so that what they share is made once, and so do those of some folders."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((group for place, group in TOGETHER.items() if file.startswith(place)), file)

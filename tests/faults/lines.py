"""One line of JSON for each fault. Imports little, as pytest must come before what it rewrites."""

from __future__ import annotations

import json
from typing import IO, Any

import pytest

VERDICT = "verdict"
"""Under which a test keeps its verdict."""


def fault_of(nodeid: str) -> str:
    """The name of the fault that a test is about: its parameter, or what comes after `test_`."""
    name = nodeid.rpartition("::")[2]
    return name.partition("[")[2].removesuffix("]") or name.removeprefix("test_").replace("_", "-")


class Lines:
    """Prints what became of each fault, also of one whose test did not come to a verdict."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        found: dict[str, Any] = dict(report.user_properties).get(VERDICT, {"fault": fault_of(report.nodeid)})
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            found |= {"skipped": reason.removeprefix("Skipped: ")}
        elif report.failed:
            found |= {"ok": False, "said": report.longreprtext.strip().splitlines()[-1]}
        print(json.dumps(found), file=self._out, flush=True)

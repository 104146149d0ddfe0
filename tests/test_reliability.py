"""The table of faults in docs/reliability.md."""

from __future__ import annotations

import pytest

from tests.faults.lines import fault_of
from tests.faults.table import DOC, ROW, filled

TWENTY = 20


def test_every_fault_has_a_row() -> None:
    names = [row[2] for row in ROW.finditer(DOC.read_text("utf-8"))]
    assert len(names) == len(set(names)) >= TWENTY
    assert {"ingress-idle", "redis-mid-challenge", "full-disk", "clock-jump", "two-loosh-up"} <= set(names)


def test_figures_are_filled_in_by_name() -> None:
    text = "| fault | x |\n|---|---|\n| `full-disk` | runs fail | |\n| `clock-jump` | an hour | 7.0 |\n"
    assert filled(text, {"full-disk": "12.5"}) == text.replace("runs fail | |", "runs fail | 12.5 |")
    assert filled(filled(text, {"full-disk": "1"}), {"full-disk": "2"}) == filled(text, {"full-disk": "2"})
    with pytest.raises(KeyError, match="no row for gone"):
        filled(text, {"gone": "1"})


def test_a_fault_is_called_by_its_parameter_or_its_test() -> None:
    assert fault_of("tests/faults/test_kills.py::test_killed_at_idle[ingress-idle]") == "ingress-idle"
    assert fault_of("tests/faults/test_disks.py::test_full_disk") == "full-disk"

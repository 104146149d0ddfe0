"""The table of faults in docs/reliability.md, and what counts as scored twice."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from tests.faults.lines import fault_of
from tests.faults.scores import SeenScores, scored_differently
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


def test_the_same_scores_again_are_no_second_ones_and_others_are(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    seen = SeenScores(tables)

    def write(name: str, payout: float) -> None:
        tables.write(SCORES, TableKey(date(2026, 1, 2), name, "v1"), pl.DataFrame({"payout": [payout]}))
        seen.look()

    write("c1", 0.5)
    write("c1", 0.5)
    write("c2", 0.5)
    assert seen.changed() == 0
    write("c1", 0.25)
    write("c1", 0.5)
    assert seen.changed() == 1


def test_the_event_log_tells_scores_that_differ(tmp_path: Path) -> None:
    told = iter([("v1", "a"), ("v1", "a"), ("v2", "b"), ("v1", "a"), ("v1", "b")])
    partitions = dg.DynamicPartitionsDefinition(name="challenges")

    @dg.asset(name=SCORES, partitions_def=partitions)
    def scores() -> dg.MaterializeResult[None]:
        names = ("scorer_version", "sha256")
        shown = {name: dg.MetadataValue.text(value) for name, value in zip(names, next(told), strict=True)}
        return dg.MaterializeResult(metadata=shown)

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_dynamic_partitions("challenges", ["c1", "c2"])

        def score(key: str) -> int:
            assert dg.materialize([scores], instance=instance, partition_key=key).success
            return scored_differently(tmp_path)

        assert [score(key) for key in ("c1", "c1", "c1", "c2", "c2")] == [0, 0, 0, 0, 1]

"""Killed before any of its steps, a compaction leaves tables that read as before, and the next one ends the work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.store.compaction_plan import KEPT
from loosh_pipeline.store.tables import TableKey, Tables
from tests.store.compacted import DAY, LATER, SCORES, compact, compact_wholly, everything, in_sql, put_scores, scores
from tests.store.killed import BEGUN, read


def put_history(tables: Tables) -> None:
    """Parts, of which some are small enough to be merged, files that count before them, and some that are new."""
    put_scores(tables, 6)
    compact_wholly(tables)
    for turn in range(3):
        tables.write(SCORES, TableKey(DAY, f"d-{turn}", "v1"), scores(f"d-{turn}", float(turn)))
        compact(tables, LATER + (4 + turn) * KEPT)
    put_scores(tables, 2)
    put_scores(tables, 3, start=20)
    tables.write(SCORES, TableKey(DAY, "c-000", "v1"), scores("c-000", 8.0))
    tables.write(SCORES, TableKey(DAY, "c-000", "v2"), scores("c-000", 9.0))


@pytest.mark.slow
def test_killed_anywhere_nothing_is_lost_or_there_twice(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path / "kept"))
    put_history(tables)
    expected = read(tables)
    command = [sys.executable, "-m", "tests.store.killed", str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) > 40, "packing, merging and removing are many steps"
    assert {each["killed"] for each in told} == {expected}
    assert {each["done"] for each in told} == {expected}
    assert {str(each["left"]) for each in told} == {"[]"}
    assert max(len(each["parts"]) for each in told) <= 6


def test_a_writer_that_hangs_or_is_killed_holds_nobody_up_and_loses_nothing(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path / "tables"))
    put_scores(tables, 3)
    compact(tables)
    holds = "import sys, time\nfrom loosh_pipeline.store.day_locks import writing\n"
    holds += "with writing(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)"
    command = [sys.executable, "-c", holds, tables.closed.directory(SCORES, DAY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        done = compact(tables, LATER + KEPT)
        assert (done.removed, done.left) == (0, 3)
        writer.kill()
    assert compact(tables, LATER + KEPT).removed == 3


class Killed(BaseException):
    """Ends a process, for as much as an object store can tell."""


def test_cut_off_from_an_object_store_anywhere_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    number = 0
    while _cut_off_at(number, monkeypatch):
        number += 1
    assert number > 12


def _cut_off_at(number: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    tables = Tables(f"memory://cut-off-{number}")
    put_history(tables)
    before, seen, cut_off = (everything(tables), in_sql(tables)), 0, False
    with monkeypatch.context() as patch:
        for name in ("pipe_file", "rm_file", "cat_file", "rmdir"):
            patch.setattr(tables.objects.fs, name, _counted(getattr(tables.objects.fs, name)))
        _counted.seen, _counted.number = seen, number  # type: ignore[attr-defined]
        try:
            compact(tables, BEGUN)
            compact(tables, BEGUN + KEPT)
        except Killed:
            cut_off = True
    assert (everything(tables), in_sql(tables)) == before
    compact_wholly(tables, BEGUN + 2 * KEPT)
    assert (everything(tables), in_sql(tables)) == before
    tables.objects.fs.rm(tables.objects.root, recursive=True)
    return cut_off


def _counted(method: Any) -> Any:
    def call(*arguments: Any, **how: Any) -> Any:
        if _counted.seen == _counted.number:  # type: ignore[attr-defined]
            raise Killed
        _counted.seen += 1  # type: ignore[attr-defined]
        return method(*arguments, **how)

    return call

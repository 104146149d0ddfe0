"""Percentiles, medians and processes by service, worked by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.figures import Load, median_of_runs, percentile, show
from benchmarks.usage import OTHER, Peak, cpu_by_service, service_of
from loosh_pipeline.processes import Process


@pytest.mark.parametrize(("share", "found"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.951, 96), (1.0, 100)])
def test_percentiles_are_nearest_ranks(share: float, found: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == found


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_each_figure_is_the_median_of_the_runs() -> None:
    runs = [{"a": 1.0, "b": 9.0}, {"a": 3.0, "b": 7.0}, {"a": 2.00049, "b": 8.0}]
    assert median_of_runs(runs) == {"a": 2.0, "b": 8.0}
    grouped = [{"cpu_s": {"x": 1.0, "y": 4.0}}, {"cpu_s": {"x": 3.0}}, {"cpu_s": {"x": 2.00049, "y": 2.0}}]
    assert median_of_runs(grouped, digits=4) == {"cpu_s": {"x": 2.0005, "y": 2.0}}


def test_the_load_before_and_during(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([0.5, 1.0, 3.0])
    monkeypatch.setattr("os.getloadavg", lambda: (next(loads), 0.0, 0.0))
    load = Load()
    load.note()
    load.note()
    assert load.figures() == {"load_before": 0.5, "load_during": 2.0, "load_highest": 3.0}


def test_one_object_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    show({"name": 1, "parts": {"x": 2}}, as_json=True)
    table, *rest = capsys.readouterr().out.splitlines()
    assert table == " name  1"
    assert rest == ["parts  x 2", '{"name": 1, "parts": {"x": 2}}']


def test_a_process_belongs_to_the_service_it_descends_from() -> None:
    found = [Process(10, 1, "worker"), Process(11, 10, "child"), Process(12, 11, "its"), Process(20, 1, "web")]
    found.append(Process(30, 29, "left behind"))
    assert service_of(found, {"worker": 10, "web": 20}) == {
        10: "worker",
        11: "worker",
        12: "worker",
        20: "web",
        30: OTHER,
    }


def test_children_that_were_waited_for_are_counted() -> None:
    before = cpu_by_service({os.getpid(): "us"})["us"]
    subprocess.run([sys.executable, "-S", "-c", "sum(range(3_000_000))"], check=True)
    assert cpu_by_service({os.getpid(): "us"})["us"] - before >= 0.03


def test_memory_is_the_most_there_was() -> None:
    peak = Peak()
    peak.note_rss([os.getpid(), os.getpid()])
    highest = peak.rss_mb
    peak.note_rss([])
    peak.note_pss([os.getpid()])
    assert peak.rss_mb == highest
    assert 0 < peak.pss_mb <= highest / 2 + 1
    assert peak.processes == 2

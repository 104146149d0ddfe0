"""A clock that is set back is noticed, by what was seen before in memory or in a file."""

from __future__ import annotations

from pathlib import Path

from loosh_pipeline.clock import ClockWatch


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_clock_that_goes_on_or_is_nudged_is_left_alone(tmp_path: Path) -> None:
    clock = Clock()
    watch = ClockWatch(tmp_path / "clock", clock)
    for step_s in (0.5, 3600.0, -4.0, 0.5):
        clock.now_s += step_s
        assert watch.set_back_s() == 0.0


def test_a_step_back_is_told_once(tmp_path: Path) -> None:
    clock = Clock()
    watch = ClockWatch(tmp_path / "clock", clock)
    watch.set_back_s()
    clock.now_s -= 3600.0
    assert watch.set_back_s() == 3600.0
    assert watch.set_back_s() == 0.0


def test_a_step_back_while_nobody_looked_is_noticed_at_the_next_start(tmp_path: Path) -> None:
    clock = Clock()
    ClockWatch(tmp_path / "clock", clock).set_back_s()
    clock.now_s -= 86_400.0
    assert ClockWatch(tmp_path / "clock", clock).set_back_s() == 86_400.0
    assert ClockWatch(tmp_path / "clock", clock).set_back_s() == 0.0


def test_neither_a_broken_file_nor_a_full_disk_stops_anything(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("12 o'clock")
    assert ClockWatch(tmp_path / "clock", Clock()).set_back_s() == 0.0
    assert ClockWatch(tmp_path / "no directory" / "clock", Clock()).set_back_s() == 0.0

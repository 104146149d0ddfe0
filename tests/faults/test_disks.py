"""A full disk under the tables, and a file system that the kernel made read-only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.faults.conftest import Disks, Judge
from tests.faults.filesystems import fill
from tests.faults.installation import UP, Installation, loosh_up
from tests.faults.trial import Trial

SEEN_WITHIN_S = 30.0


def test_full_disk(
    validator: Installation, disks: Disks, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    """The clock of recovery runs from when there is room again."""
    disks.needs(disks.why_not_small)
    trial = trial_of(validator)
    trial.fill()
    filler = fill(Path(validator.settings.tables_root))
    _refused(trial, "the tables cannot be written: No space left on device")
    assert "No space left on device" in _health(validator)
    trial.strike()
    filler.unlink()
    trial.push()
    judge(trial.verdict())


def test_read_only_data_directory(
    validator: Installation, disks: Disks, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    """After an error of its disk; the clock of recovery runs from when the file system is repaired."""
    disk = disks.home
    disks.needs(disks.why_not_breakable)
    assert disk is not None
    trial = trial_of(validator)
    trial.fill()
    disk.break_()
    _refused(trial, "the store cannot be written: its file system is read-only")
    assert "read-only" in _health(validator)
    with validator.manager.stopped(UP):
        second = loosh_up(validator)
        validator.inbox.engine.dispose()
        disk.repair()
        trial.strike()
    assert second.returncode == 2
    assert "cannot be written: Read-only file system" in _only_line(second)
    trial.push()
    judge(trial.verdict())


def _only_line(ended: subprocess.CompletedProcess[str]) -> str:
    (line,) = ended.stderr.strip().splitlines()
    return line


def _refused(trial: Trial, why: str) -> None:
    """Push until no challenge is taken any more, for that reason."""
    deadline_s = time.monotonic() + SEEN_WITHIN_S
    status, said = trial.try_once()
    while status != httpx.codes.SERVICE_UNAVAILABLE or why not in said:
        assert time.monotonic() < deadline_s, f"not refused because {why}, but {status} {said}"
        time.sleep(1.0)
        status, said = trial.try_once()


def _health(validator: Installation) -> str:
    return validator.http.get("/availability/health").text

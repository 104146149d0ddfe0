"""Processes that score: as many as there is room for, and what becomes of rounds over which one dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from loosh_pipeline.devnet.stored_rounds import Sample
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.rescoring import processes as processes_module
from loosh_pipeline.rescoring import room
from loosh_pipeline.rescoring.processes import ScoringProcesses
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from tests.rescoring.kept import ROBUST, keep, stored_rounds


def test_a_process_that_was_killed_costs_nothing(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, ["a", "b"])
    rounds = stored_rounds(tables, inbox)
    with ScoringProcesses(str(tmp_path / "tables"), ROBUST, 1) as processes:
        first = processes.submit(rounds).result()
        (process,) = processes.started
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        again = processes.submit(rounds).result()
        assert len(processes.started) == 2
    assert again.scores.equals(first.scores)
    assert again.pairs.equals(first.pairs)
    assert (again.rounds, again.unscorable) == (first.rounds, ())


DEADLY = """
import os, signal, sys
import loosh_pipeline.rescoring.processes as module
plain = module.score_batch

def score_batch(rounds, *how):
    if any(each.id in {deadly!r} for each in rounds):
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(rounds, *how)

module.score_batch = score_batch
from loosh_pipeline.rescoring.__main__ import main
main()
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Processes that die over these rounds, as over ones that take all memory."""

    def make(names: Sequence[str]) -> None:
        program = tmp_path / "python"
        script = tmp_path / "deadly.py"
        script.write_text(DEADLY.format(deadly=list(names)))
        program.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(processes_module, "sys", SimpleNamespace(executable=str(program)))

    return make


def test_a_round_over_which_processes_die_costs_no_other(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample], deadly: Callable[[Sequence[str]], None]
) -> None:
    keep(tables, inbox, drawn, ["a", "b", "c"])
    deadly(["b"])
    with ScoringProcesses(str(tmp_path / "tables"), ROBUST, 1) as processes:
        found = processes.submit(stored_rounds(tables, inbox)).result()
    assert [each.id for each in found.rounds] == ["a", "c"]
    (dead,) = found.unscorable
    assert (dead.name, dead.kind) == ("b", "a process that scores died over it")
    assert "exit status -9" in dead.reason
    assert found.scores["challenge_id"].unique(maintain_order=True).to_list() == ["a", "c"]


def test_processes_that_die_over_everything_end_it(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample], deadly: Callable[[Sequence[str]], None]
) -> None:
    keep(tables, inbox, drawn, ["a", "b", "c"])
    deadly(["a", "b", "c"])
    with (
        ScoringProcesses(str(tmp_path / "tables"), ROBUST, 1) as processes,
        pytest.raises(ServiceError, match=r"died over it .* and over the 2 rounds after it"),
    ):
        processes.submit(stored_rounds(tables, inbox)).result()


def test_processes_start_as_they_are_needed_and_end_with_whoever_asks(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample]
) -> None:
    keep(tables, inbox, drawn, ["a"])
    with ScoringProcesses(str(tmp_path / "tables"), ROBUST, 4) as processes:
        assert not processes.started
        processes.submit(stored_rounds(tables, inbox)).result()
        (process,) = processes.started
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "800\n"
    assert process.returncode == 0


def test_one_that_cannot_be_started_says_so_and_the_others_end(
    tmp_path: Path, tables: Tables, inbox: Inbox, drawn: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tables, inbox, drawn, ["a"])
    rounds = stored_rounds(tables, inbox)
    with ScoringProcesses(str(tmp_path / "tables"), ROBUST, 2) as processes:
        processes.submit(rounds).result()
        (process,) = processes.started
        monkeypatch.setattr(processes_module, "sys", SimpleNamespace(executable=str(tmp_path / "none")))
        os.kill(process.pid, signal.SIGKILL)
        failed = processes.submit(rounds).exception()
    assert isinstance(failed, ServiceError)
    assert "cannot be started: " in str(failed)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("cpu_max", "available_mb", "limit_mb", "count"),
    [
        ("max 100000", 16_000, None, 4),
        ("200000 100000", 16_000, None, 2),
        ("50000 100000", 16_000, None, 1),
        (None, 700, None, 2),
        (None, 16_000, 950, 3),
        (None, 10, None, 1),
    ],
)
def test_as_many_processes_as_there_is_room_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cpu_max: str | None,
    available_mb: int,
    limit_mb: int | None,
    count: int,
) -> None:
    monkeypatch.setattr(room, "cores", lambda: 64)
    if cpu_max is not None:
        (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    (tmp_path / "memory.max").write_text("max\n" if limit_mb is None else f"{limit_mb * 1024**2 + 5}\n")
    (tmp_path / "memory.current").write_text("5\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:    {available_mb * 1024} kB\n")
    assert room.most_processes(tmp_path, tmp_path / "meminfo") == count

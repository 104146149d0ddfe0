"""Whether history is pruned is told, and what disk it is going to take; nothing is left on disk by looking."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loosh_pipeline.doctor.finding import Finding
from loosh_pipeline.doctor.history import history
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox

TAKES = "history and pictures take 7.9 GB at most (RETAIN_CHALLENGES=20000)"


def files(home: Path) -> Mapping[str, int]:
    return {path.name: os.stat(path).st_mtime_ns for path in home.iterdir()}


def found(settings: Settings, *, runs: bool) -> Finding:
    (finding,) = history(settings, runs)
    return finding


def test_before_anything_is_there(settings: Settings) -> None:
    assert found(settings, runs=False) == Finding("history", "ok", TAKES)
    assert not settings.home.exists()


@pytest.mark.parametrize(("hours", "verdict"), [(5, "ok"), (47, "ok"), (49, "look")])
def test_how_long_ago_is_told_and_too_long_is_to_be_looked_at(settings: Settings, hours: int, verdict: str) -> None:
    inbox = Inbox.open(settings.inbox_url)
    assert found(settings, runs=True) == Finding("history", "ok", f"not pruned yet; {TAKES}")
    inbox.note_pruned(datetime.now(UTC) - timedelta(hours=hours))
    inbox.engine.dispose()
    before = files(settings.home)
    finding = found(settings, runs=True)
    assert (finding.verdict, finding.said) == (verdict, f"pruned {hours} h ago; {TAKES}")
    assert bool(finding.todo) == (verdict == "look")
    assert found(settings, runs=False).verdict == "ok", "nothing that does not run is late"
    assert files(settings.home) == before


def test_a_database_that_cannot_be_used_is_told_of_elsewhere(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "validator.db").write_text("not a database")
    assert list(history(settings, runs=True)) == []

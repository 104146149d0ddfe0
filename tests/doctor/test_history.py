"""Whether history is pruned is told, and what disk it is going to take; nothing is left on disk by looking."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from loosh_pipeline.doctor.finding import Finding
from loosh_pipeline.doctor.history import history, takes_about
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.retention_notes import Kept, RetentionNotes

TAKES = "history and pictures take about 8.9 GB (RETAIN_CHALLENGES=20000)"


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
    RetentionNotes(inbox.engine).note_pruned(datetime.now(UTC) - timedelta(hours=hours))
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


def test_figures_are_by_kinds_of_runs_and_none_is_made_up_for_postgres(settings: Settings) -> None:
    few = settings.model_copy(update={"retain_challenges": 100})
    assert takes_about(few).startswith("history and pictures take about 1.0 GB"), "runs of upkeep and weights"
    elsewhere = few.model_copy(update={"dagster_database_url": SecretStr("postgresql://x/y")})
    assert takes_about(elsewhere) == "pictures take about 0.0 GB (RETAIN_CHALLENGES=100); history is in Postgres"


def test_a_clock_behind_the_last_pruning_is_to_be_looked_at(settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    RetentionNotes(inbox.engine).note_pruned(datetime.now(UTC) + timedelta(hours=5, minutes=30))
    inbox.engine.dispose()
    finding = found(settings, runs=True)
    assert (finding.verdict, finding.said.split(";")[0]) == (
        "look",
        "pruned 5.5 h in the future, by this machine's clock",
    )


def test_what_holds_too_many_is_named(settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    RetentionNotes(inbox.engine).note_pruned(datetime.now(UTC))
    RetentionNotes(inbox.engine).note_kept(Kept(22_001, "backfill abcdefgh: 2,001"), datetime.now(UTC))
    inbox.engine.dispose()
    finding = found(settings, runs=True)
    assert (finding.verdict, "held by: backfill abcdefgh: 2,001" in finding.said) == ("look", True)

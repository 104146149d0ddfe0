"""What a restored validator reads from its stores is what the one that was backed up reads from its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.domain import Block, ChallengeId, Hotkey, WeightPlan
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.schema import inbox_metadata, sessions
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from tests.backup.conftest import NOW, accept
from tests.builders import metagraph, neutral_round

OWN = Hotkey("hotkey-0")
PLAN = WeightPlan(78, Block(100), {1: 0.75, 2: 0.25}, {1: "hotkey-1", 2: "hotkey-2"}, 7)
PROFILE, MODEL = RobustProfile(), "ab" * 32
VERSION = scorer_version(PROFILE, MODEL)


def fill(settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    ledger, lease = Submissions(inbox.engine), Leases(inbox.engine).take(LEASE, "a", NOW, timedelta(minutes=5))
    for state in (SubmissionState.OBSERVED, SubmissionState.COMMITTED):
        ledger.move(lease, ledger.plan(lease, PLAN, metagraph(), OWN, NOW), state, "why", NOW, extrinsic_hash="0xab")
    inbox.engine.dispose()
    scores = ScoreTables(Tables(settings.tables_root))
    for each, answers in (("c-1", {"a": True, "b": False}), ("c-2", {"a": True, "b": True, "c": True})):
        result = replace(neutral_round(answers), challenge_id=each, profile=PROFILE.name, scorer_version=VERSION)
        scores.write(TableKey.of(ChallengeId(each), NOW), result, PROFILE, MODEL, NOW)


def read(home: Path) -> dict[str, Sequence[object]]:
    """Everything, by what it is."""
    inbox, scores = Inbox.open(f"sqlite:///{home}/validator.db"), ScoreTables(Tables(str(home / "tables")))
    kept = [table for table in inbox_metadata.sorted_tables if table is not sessions]
    try:
        with inbox.engine.connect() as connection:
            rows = {table.name: [tuple(row) for row in connection.execute(select(table))] for table in kept}
        return {
            **rows,
            "read_challenges": [inbox.get(ChallengeId(each)) for each in ("c-1", "c-2", "c-3")],
            "read_submissions": list(Submissions(inbox.engine).recent(78, OWN)),
            "read_scores": [scores.read(TableKey.of(ChallengeId(each), NOW), VERSION) for each in ("c-1", "c-2")],
        }
    finally:
        inbox.engine.dispose()


def tables(home: Path) -> dict[Path, bytes]:
    return {path.relative_to(home): path.read_bytes() for path in (home / "tables").rglob("*.parquet")}


def test_challenges_scores_and_submissions_are_the_same(places: Places, settings: Settings, tmp_path: Path) -> None:
    accept(settings, "c-3")
    fill(settings)
    before = read(places.home)
    taken = take_backup(places, tmp_path / "b.tar.gz", NOW)
    restored = restore_backup(taken.path, Places.usual(tmp_path / "n"), NOW, force=False, say=lambda _: None)
    after = read(restored.home)
    for name, found in before.items():
        assert after[name] == found, name
    assert after.keys() == before.keys()
    assert (len(after["challenges"]), len(after["read_submissions"]), len(after["read_scores"])) == (3, 2, 2)
    assert tables(restored.home) == tables(places.home)

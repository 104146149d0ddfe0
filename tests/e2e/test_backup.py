"""A backup that is taken while a validator works, and a second validator that goes on from it elsewhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.local import local_settings
from loosh_pipeline.services import services
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.supervisor import supervised
from tests.e2e.validator import DONE_WITHIN_S, READY_WITHIN_S, SETTINGS, Validator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_validator_goes_on_from_a_backup_of_another(validator: Validator, tmp_path: Path) -> None:
    done = validator.accept("kept-1", 1)
    validator.reaches(done, ChallengeState.SUBMITTED)
    under_way = validator.accept("kept-2", 2)
    taken = take_backup(Places.of(validator.settings), tmp_path / "b.tar", datetime.now(UTC), with_history=True)
    assert (taken.skipped, validator.inbox.get(under_way).state in (ChallengeState.SUBMITTED,)) == ((), False)
    # Where it came from finishes first, so that the other one tells what was told.
    validator.reaches(under_way, ChallengeState.SUBMITTED)
    told = validator.batches()[under_way]

    home = tmp_path / "other"
    restore_backup(taken.path, Places.usual(home), datetime.now(UTC), force=False, say=validator.said.append)
    key = TableKey.of(done, validator.inbox.get(done).received_at)
    (scores,) = [each for each in validator.tables.newest_first(SCORES) if each.name == key.name]
    assert Tables(str(home / "tables")).read(SCORES, scores).equals(validator.tables.read(SCORES, scores))

    settings = local_settings(validator.devnet, home, **SETTINGS)
    with supervised(services(settings), home / "logs", validator.said.append, READY_WITHIN_S):
        _until_submitted(settings.inbox_url, under_way)
    assert validator.batches()[under_way] == told, "the Challenge API keeps what it was told first"


def _until_submitted(url: str, challenge_id: ChallengeId) -> None:
    inbox = Inbox.open(url)
    assert inbox.get(challenge_id).state is not ChallengeState.SUBMITTED
    deadline_s = time.monotonic() + DONE_WITHIN_S
    while inbox.get(challenge_id).state is not ChallengeState.SUBMITTED:
        assert time.monotonic() < deadline_s, inbox.get(challenge_id)
        time.sleep(0.2)
    inbox.engine.dispose()

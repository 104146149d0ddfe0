"""What is wrong with the newest links of the chain of accepted challenges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from loosh_pipeline.doctor import stores
from loosh_pipeline.doctor.finding import Finding
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.accepting import new_row
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from tests.doctor.conftest import only

HOUR = timedelta(hours=1)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{tmp_path}/validator.db")
    now = datetime.now(UTC)
    for number in range(5):
        inbox.accept(ChallengeId(f"c-{number}"), {}, now - HOUR)
    yield inbox
    inbox.engine.dispose()


def looked(home: Path) -> Finding:
    """The one finding that is not ok."""
    return only(each for each in stores.databases(Settings(loosh_home=home)) if each.verdict != "ok")


@pytest.mark.usefixtures("inbox")
def test_a_whole_chain_is_no_matter(tmp_path: Path) -> None:
    assert only(stores.databases(Settings(loosh_home=tmp_path))).verdict == "ok"


def test_one_that_breaks(tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with inbox.engine.begin() as connection:
        connection.execute(text("DELETE FROM challenges WHERE id = 'c-2'"))
    assert "breaks at link 4 (challenge c-3): it follows link 2" in looked(tmp_path).said
    monkeypatch.setattr(stores, "LINKS", 2)
    assert only(stores.databases(Settings(loosh_home=tmp_path))).verdict == "ok", "of the newest links alone"


def test_what_an_older_ingress_accepted(tmp_path: Path, inbox: Inbox) -> None:
    with inbox.engine.begin() as connection:
        connection.execute(challenges.insert().values(new_row(ChallengeId("x"), {}, datetime.now(UTC))))
    assert "1 challenges were accepted beside their chain" in looked(tmp_path).said


def test_a_time_in_the_future(tmp_path: Path, inbox: Inbox) -> None:
    inbox.accept(ChallengeId("ahead"), {}, datetime.now(UTC) + 3 * HOUR)
    inbox.accept(ChallengeId("right"), {}, datetime.now(UTC))
    assert "is stamped 2:59:5" in looked(tmp_path).said

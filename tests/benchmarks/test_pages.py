"""The benchmark of pages, over few challenges: that it asks for what it says, not how fast that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

import benchmarks.pages as module
from benchmarks.figures import Load
from benchmarks.pages import STALE, Figures, measured, search_finds_what_it_should, there_already
from benchmarks.pages_home import GIVEN_UP, WAITING, Made, Size, make, read_back
from benchmarks.past import OF_EMISSIONS
from loosh_pipeline.audit.epochs import epoch_tables
from loosh_pipeline.audit.miners import miners_of_epoch
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weigh_records import read_terms

pytestmark = pytest.mark.slow

SIZE = Size(challenges=240, per_day=40.0, rounds=4, vectors_days=1.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def made(root: Path) -> Made:
    return make(root, SIZE, datetime.now(UTC))


def test_a_home_has_months_whose_epochs_are_found_with_all_their_tables(made: Made, root: Path) -> None:
    inbox, tables = Inbox.open(made.settings.inbox_url), Tables(made.settings.tables_root)
    states = inbox.stats().by_state
    assert (states[ChallengeState.RECEIVED], states[ChallengeState.FAILED]) == (WAITING, GIVEN_UP)
    assert states[ChallengeState.SUBMITTED] == SIZE.challenges
    assert made.epochs > 6 * 19
    for number in (made.epochs, made.epochs // 2):
        where = epoch_tables(inbox.engine, tables, str(number))
        assert where.emissions is not None
        assert where.proposal is not None
        assert tables.exists("weights", where.weights)
        missing = [each for each in OF_EMISSIONS if not tables.exists(each, where.emissions)]
        assert missing == [], "whatever the product keeps of emissions, now or by a later release"
        assert set(tables.read("weights", where.weights)["submission_id"]) == {number}
        assert abs((read_terms(tables, where.emissions).made_at - where.row.created_at).total_seconds()) < 60
        rounds = set(tables.read("counted_rounds", where.emissions)["challenge_id"])
        assert len(rounds) == pytest.approx(SIZE.per_day, abs=2)
        assert all(inbox.get(each).received_at <= where.row.created_at for each in rounds)
        found = miners_of_epoch(tables, where).lines
        assert len(found) == 256
        assert any(each.outcomes for each in found), "why asks were paid nothing"
    inbox.engine.dispose()
    assert read_back(root) == made
    assert read_back(root / "elsewhere") is None


def test_every_page_is_asked_for(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEAT", 2)
    found = measured(made, tmp_path / "logs", Load())
    assert found.keys() >= {"overview", "challenges", "challenges_deep", "search_words", "round_today", "round_old"}
    assert found.keys() >= {"miners", "miner", "receipt", "weights", "miners_old_epoch"}
    assert all(min(each.first_ms, each.p50_ms, each.kb) > 0 for each in found.values())


def test_a_page_is_within_its_bounds_by_time_and_size() -> None:
    assert Figures(900.0, 300.0, 900.0, 800.0, 9.0, 200.0).within
    assert not Figures(1.0, 301.0, 1.0, 1.0, 1.0, 1.0).within
    assert not Figures(1.0, 1.0, 1.0, 1.0, 1.0, 201.0).within


@pytest.mark.parametrize(("hits", "said"), [("words", "lists no challenge"), ("everything", "lists challenges")])
def test_a_search_that_finds_what_it_should_not_is_not_measured_as_if_it_did(hits: str, said: str) -> None:
    paths = {"search_id": "/id", "search_words": "/words", "search_nothing_found": "/nothing"}
    found = {"words": ("/id",), "everything": ("/id", "/words", "/nothing")}[hits]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="rounds/archived-000001" if request.url.path in found else "none")

    with (
        httpx.Client(transport=httpx.MockTransport(answer), base_url="http://there") as http,
        pytest.raises(SystemExit, match=said),
    ):
        search_finds_what_it_should(http, paths)


def test_a_home_of_another_size_or_of_long_ago_is_not_taken(made: Made, root: Path, tmp_path: Path) -> None:
    now = made.past.until
    assert there_already(root, SIZE, now) == made
    assert there_already(tmp_path, SIZE, now) is None
    with pytest.raises(SystemExit, match="over an hour ago"):
        there_already(root, SIZE, now + STALE + timedelta(seconds=1))
    with pytest.raises(SystemExit, match="has 240 challenges"):
        there_already(root, replace(SIZE, challenges=250), now)

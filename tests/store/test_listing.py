"""The list of challenges: by pages that neither repeat nor lose one, by what is in them, and in figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store import listing
from loosh_pipeline.store.canaries import CanaryMark, mark
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.listing import Found, Listing, Place, Wanted
from loosh_pipeline.store.schema import challenges

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def put(inbox: Inbox, challenge_id: str, at: datetime = NOON, canary: bool = False, **fields: Any) -> None:
    """A challenge as it lies there; `scored_in_s`: how long it took."""
    took_s = fields.pop("scored_in_s", None)
    request = {"id": challenge_id, "prompt": fields.pop("prompt", "Why is the sky blue?")} | fields.pop("request", {})
    row = {"state": ChallengeState.RECEIVED, "attempts": 0, "asked": 0, "answered": 0, "elapsed_ms_sum": 0.0}
    row |= {"scored_at": None if took_s is None else at + timedelta(seconds=took_s)}
    with inbox.engine.begin() as connection:
        connection.execute(
            challenges.insert(),
            {**row, "id": challenge_id, "request": request, "received_at": at, "state_changed_at": at, **fields},
        )
        if canary:
            mark(connection, ChallengeId(challenge_id), CanaryMark([], "q"), at)


def ids(found: Found) -> list[str]:
    return [row.id for row in found.rows]


def test_pages_follow_one_another(inbox: Inbox) -> None:
    """Those that came at one moment too."""
    for number in range(7):
        put(inbox, f"c-{number}", NOON + (number // 3) * MINUTE)
    seen: list[str] = []
    place: Place | None = None
    while True:
        found = Listing(inbox.engine).find(Wanted(), 2, place)
        seen += ids(found)
        place = found.more
        if place is None:
            break
        assert place == found.rows[-1].place
    assert seen == ["c-6", "c-5", "c-4", "c-3", "c-2", "c-1", "c-0"]


def test_what_comes_meanwhile_moves_no_page(inbox: Inbox) -> None:
    for number in range(4):
        put(inbox, f"c-{number}", NOON + number * MINUTE)
    first = Listing(inbox.engine).find(Wanted(), 2)
    put(inbox, "newer", NOON + HOUR)
    assert ids(Listing(inbox.engine).find(Wanted(), 2, first.more)) == ["c-1", "c-0"]


def test_a_row_says_how_far_a_challenge_has_come(inbox: Inbox) -> None:
    about: dict[str, Any] = {"state": ChallengeState.SUBMITTED, "asked": 7, "answered": 5, "run_id": "r-1"}
    put(inbox, "c-1", scored_in_s=4.5, prompt="x" * 1000, **about)
    (row,) = Listing(inbox.engine).find(Wanted(), 9).rows
    assert (row.id, row.state, row.asked, row.answered, row.run_id) == ("c-1", ChallengeState.SUBMITTED, 7, 5, "r-1")
    assert (row.received_at, row.to_scores_s, row.prompt) == (NOON, 4.5, "x" * listing.PROMPT_CHARS)
    put(inbox, "c-2", NOON + HOUR)
    assert Listing(inbox.engine).find(Wanted(), 1).rows[0].to_scores_s is None


def test_a_prompt_is_what_is_evaluated(inbox: Inbox) -> None:
    messages = [{"role": "user", "content": "old"}, {"role": "user", "content": [{"type": "text", "text": "Erzähl!"}]}]
    put(inbox, "c-1", prompt=None, request={"messages": messages})
    (row,) = Listing(inbox.engine).find(Wanted(words=("ERZÄHL",)), 9).rows
    assert row.prompt == "Erzähl!"


def test_by_state_and_by_day(inbox: Inbox) -> None:
    day = timedelta(days=1)
    midnight = datetime(2026, 1, 2, tzinfo=UTC)
    put(inbox, "before", midnight - MINUTE, state=ChallengeState.FAILED)
    put(inbox, "first", midnight, state=ChallengeState.FAILED)
    put(inbox, "last", midnight + day - MINUTE)
    put(inbox, "after", midnight + day, state=ChallengeState.FAILED)
    listed = Listing(inbox.engine)
    assert ids(listed.find(Wanted(ChallengeState.FAILED), 9)) == ["after", "first", "before"]
    assert ids(listed.find(Wanted(since=midnight, until=midnight + day), 9)) == ["last", "first"]
    assert ids(listed.find(Wanted(ChallengeState.FAILED, midnight, midnight + day), 9)) == ["first"]


def test_a_search_looks_at_so_many_and_goes_on_from_there(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    for number in range(8):
        put(inbox, f"c-{number}", NOON + number * MINUTE, prompt="A red Apple" if number in (0, 6) else "a pear")
    listed, wanted = Listing(inbox.engine), Wanted(words=("apple", "RED"))
    first = listed.find(wanted, 9)
    assert (ids(first), first.looked_at) == (["c-6"], 3)
    assert first.more is not None
    assert first.more.id == "c-5"
    second = listed.find(wanted, 9, first.more)
    assert (ids(second), second.looked_at) == ([], 3)
    third = listed.find(wanted, 9, second.more)
    assert (ids(third), third.looked_at, third.more) == (["c-0"], 2, None)
    assert ids(listed.find(Wanted(words=("apple", "blue")), 9)) == []


def test_long_requests_are_not_all_read_at_once(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "READ_CHARS", 5000)
    for number in range(6):
        put(inbox, f"c-{number}", NOON + number * MINUTE, prompt="x" * 3000)
    listed, wanted = Listing(inbox.engine), Wanted(words=("xxx",))
    first = listed.find(wanted, 5)
    assert ids(first) == ["c-5", "c-4"]
    assert ids(listed.find(wanted, 5, first.more)) == ["c-3", "c-2"]
    assert len(listed.find(Wanted(), 5).rows) == 5


@pytest.mark.parametrize(
    ("beginning", "found"),
    [("c-1", ["c-1", "c-10", "c-1é"]), ("c-1é", ["c-1é"]), ("c_", []), ("%", []), ("C-1", []), ("", None)],
)
def test_by_the_beginning_of_an_id(inbox: Inbox, beginning: str, found: list[str] | None) -> None:
    for each in ("c-1", "c-10", "c-1é", "c-2", "d"):
        put(inbox, each)
    rows = Listing(inbox.engine).beginning_with(beginning, 3)
    assert len(rows) == 3 if found is None else [row.id for row in rows] == found


def test_the_backlog_is_what_has_no_scores_and_is_not_given_up(inbox: Inbox) -> None:
    listed = Listing(inbox.engine)
    assert (listed.backlog().count, listed.backlog().oldest_at) == (0, None)
    for number, state in enumerate(ChallengeState):
        put(inbox, f"c-{state}", NOON + number * MINUTE, state=state)
    assert (listed.backlog().count, listed.backlog().oldest_at) == (3, NOON)


def test_hours_say_what_came_and_how_long_it_took(inbox: Inbox) -> None:
    put(inbox, "now", NOON)
    put(inbox, "a", NOON - 10 * MINUTE, scored_in_s=2.0)
    put(inbox, "b", NOON - 20 * MINUTE, scored_in_s=4.0)
    put(inbox, "c", NOON - 30 * MINUTE)
    put(inbox, "d", NOON - HOUR, scored_in_s=9.0)
    put(inbox, "e", NOON - 2 * HOUR - MINUTE, scored_in_s=1.0)
    older, last = Listing(inbox.engine).hours(NOON, 2, 9)
    assert (older.since, older.until, last.until) == (NOON - 2 * HOUR, NOON - HOUR, NOON)
    assert (older.came, list(older.latencies_s)) == (0, [])
    assert (last.came, sorted(last.latencies_s)) == (4, [2.0, 4.0, 9.0])
    assert list(Listing(inbox.engine).hours(NOON, 2, 1)[1].latencies_s) == [2.0]
    assert Listing(inbox.engine).latencies_s(NOON - HOUR, NOON, 2) == [2.0, 4.0]


def test_whoever_took_long_counts_in_the_hour_in_which_it_got_its_scores(inbox: Inbox) -> None:
    put(inbox, "slow", NOON - 3 * HOUR, scored_in_s=3 * 3600 - 60)
    put(inbox, "quick", NOON - 2 * MINUTE, scored_in_s=5.0)
    last = Listing(inbox.engine).hours(NOON, 1, 9)[0]
    assert (last.came, sorted(last.latencies_s)) == (1, [5.0, 10740.0])
    assert sorted(Listing(inbox.engine).latencies_s(NOON - HOUR, NOON, 9)) == [5.0, 10740.0]


def test_where_canaries_may_not_be_told_nothing_shows_that_there_are_any(inbox: Inbox) -> None:
    put(inbox, "c-1", NOON - MINUTE, scored_in_s=1.0)
    put(inbox, "c-2", NOON - 2 * MINUTE, canary=True, scored_in_s=1.0)
    put(inbox, "c-3", NOON - 3 * MINUTE)
    told, hidden = Listing(inbox.engine), Listing(inbox.engine, canaries=False)
    assert ids(told.find(Wanted(), 2)) == ["c-1", "c-2"]
    first = hidden.find(Wanted(), 1)
    assert first.more == Place(NOON - MINUTE, ChallengeId("c-1"))
    assert ids(hidden.find(Wanted(), 2)) == ["c-1", "c-3"]
    assert hidden.find(Wanted(words=("nothing",)), 2).looked_at == 2
    assert [row.id for row in hidden.beginning_with("c-", 9)] == ["c-1", "c-3"]
    assert (told.backlog().count, hidden.backlog().count) == (3, 2)
    assert [each.hours(NOON, 1, 9)[0].came for each in (told, hidden)] == [3, 2]
    assert hidden.latencies_s(NOON - HOUR, NOON, 9) == [1.0]

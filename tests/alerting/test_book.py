"""What is told when: once, again while it stands, and when it is over; across restarts and clocks."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loosh_pipeline.alerting.book import (
    FILE,
    GROWN_AFTER_S,
    NEW_AFTER_S,
    REMEMBERED_S,
    SETTLED_S,
    Book,
    Hook,
    Telling,
    due,
    keep,
    noted,
    read,
    told,
)
from loosh_pipeline.alerting.conditions import Alert, Severity, Source

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
REPEAT = timedelta(hours=6)


def alert(key: str = "a", count: int = 1, after_s: float = 0.0, source: Source = Source.STORES) -> Alert:
    return Alert(key, source, Severity.WARNING, f"text of {key}", "look", count, after_s)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def looked(book: Book, seconds: float, *alerts: Alert, blind: tuple[Source, ...] = ()) -> tuple[Book, Telling]:
    book = noted(book, alerts, at(seconds), blind)
    telling = due(book, at(seconds), REPEAT)
    return told(book, telling, at(seconds)) if telling else book, telling


def test_an_alert_is_told_once_then_again_after_a_while_then_when_it_is_over() -> None:
    book, telling = looked(Book(), 0, alert())
    assert telling == Telling(new=("a",))
    for seconds in (15, 3600, REPEAT.total_seconds() - 1):
        book, telling = looked(book, seconds, alert())
        assert not telling
    book, telling = looked(book, REPEAT.total_seconds(), alert())
    assert telling == Telling(again=("a",))
    gone = REPEAT.total_seconds() + SETTLED_S
    book, telling = looked(book, gone - 1)
    assert not telling
    book, telling = looked(book, gone)
    assert telling == Telling(over=("a",))
    assert looked(book, gone + 15) == (book, Telling())
    assert looked(book, gone + REMEMBERED_S)[0].entries == {}


def test_what_comes_and_goes_is_one_alert() -> None:
    book, _ = looked(Book(), 0, alert())
    for seconds in range(15, 600, 30):
        book, telling = looked(book, seconds, *([alert()] if seconds % 60 else []))
        assert not telling


def test_what_did_not_stand_long_enough_is_never_told() -> None:
    unwell = alert(after_s=300)
    book, telling = looked(Book(), 0, unwell)
    assert not telling
    book, telling = looked(book, 299)
    assert not telling
    assert book.entries == {}
    book, _ = looked(book, 400, unwell)
    book, telling = looked(book, 699, unwell)
    assert not telling
    assert looked(book, 700, unwell)[1] == Telling(new=("a",))


def test_what_stands_but_for_moments_is_told(tmp_path: Path) -> None:
    book, told_at = Book(), []
    for seconds in range(0, 3600, 15):
        book, telling = looked(book, seconds, *([] if seconds % 300 == 0 else [alert(after_s=300)]))
        told_at += [seconds] * bool(telling)
    assert told_at == [315]


def unheard(book: Book, seconds: float, *alerts: Alert) -> tuple[Book, Telling]:
    """A look while nobody can be told."""
    book = noted(book, alerts, at(seconds))
    return book, due(book, at(seconds), REPEAT)


def test_what_was_over_before_anybody_could_be_told_is_told_as_that(tmp_path: Path) -> None:
    book, _ = unheard(Book(), 0, alert(), alert("b", after_s=60))
    book, _ = unheard(book, 30, alert())
    keep(tmp_path, book)
    book, telling = unheard(read(tmp_path), 30 + SETTLED_S - 1)
    assert not telling
    book, telling = looked(book, 3 * 86_400)
    assert telling == Telling(was=("a",)), "b did not stand long enough"
    assert not looked(book, 3 * 86_400 + 600)[1]


@pytest.mark.parametrize("every_s", [150, 600, 1200])
def test_what_is_over_and_comes_back_ever_again_is_no_flood(every_s: int) -> None:
    book, tellings = Book(), []
    for seconds in range(0, 6 * 3600, 15):
        book, telling = looked(book, seconds, *([alert()] if seconds % every_s == 0 else []))
        tellings += [(seconds, telling)] * bool(telling)
    assert len(tellings) <= 12
    new = [seconds for seconds, telling in tellings if telling.new or telling.was]
    assert all(b - a >= NEW_AFTER_S for a, b in itertools.pairwise(new))


def test_what_was_quiet_for_long_is_new_again() -> None:
    book, _ = looked(Book(), 0, alert())
    for seconds in (200, 200 + REMEMBERED_S):
        book, _ = looked(book, seconds)
    assert book.entries == {}


def test_another_run_that_failed_is_more_of_the_same() -> None:
    def failed(run_id: str) -> Alert:
        return replace(alert(), newest=run_id)

    book, _ = looked(Book(), 0, failed("r-1"))
    assert not looked(book, GROWN_AFTER_S, failed("r-1"))[1]
    assert looked(book, GROWN_AFTER_S, failed("r-2"))[1] == Telling(again=("a",))


def test_what_stands_since_the_future_is_told_in_time() -> None:
    book, _ = looked(Book(), 7200, alert(after_s=300))
    book, telling = looked(book, 0, alert(after_s=300))
    assert not telling
    assert looked(book, 300, alert(after_s=300))[1] == Telling(new=("a",))


def test_a_time_without_a_zone_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    book, _ = looked(Book(), 0, alert())
    keep(tmp_path, book)
    for name in ("since", "seen_at", "told_at", "new_at"):
        kept = json.loads((tmp_path / FILE).read_text())
        kept["alerts"]["a"][name] = "2026-11-26T00:00:00"
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / FILE).write_text(json.dumps(kept))
        assert read(tmp_path / "other") == Book()
    assert "no zone" in caplog.text


def test_more_of_the_same_is_told_sooner_but_not_at_once() -> None:
    book, _ = looked(Book(), 0, alert(count=1))
    book, telling = looked(book, GROWN_AFTER_S - 1, alert(count=5))
    assert not telling
    book, telling = looked(book, GROWN_AFTER_S, alert(count=5))
    assert telling == Telling(again=("a",))
    assert not looked(book, 3 * GROWN_AFTER_S, alert(count=2))[1], "fewer is no news"


def test_what_cannot_be_looked_at_is_not_over() -> None:
    book, _ = looked(Book(), 0, alert(source=Source.DAGSTER), alert("b"))
    book, telling = looked(book, 600, blind=(Source.DAGSTER,))
    assert telling == Telling(over=("b",))
    assert not looked(book, 600 + SETTLED_S - 1)[1]
    assert looked(book, 600 + SETTLED_S)[1] == Telling(over=("a",))


def test_a_clock_that_is_set_back_postpones_nothing() -> None:
    book, _ = looked(Book(), 7200, alert(), alert("b"))
    _, telling = looked(book, 0, alert())
    assert telling == Telling(again=("a",), over=("b",))


def test_the_book_is_kept_whole(tmp_path: Path) -> None:
    book, _ = looked(Book(), 0, alert(), alert("b", 3, 0.5, Source.DAGSTER))
    book = Book(book.entries, Hook(at(1), at(2), "HTTP 500", 3, at(4)))
    assert keep(tmp_path, book) is None
    assert read(tmp_path) == book
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"alerts": {"a": {}}, "webhook": {}}', "null"])
def test_a_book_that_cannot_be_read_is_begun_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(content)
    assert read(tmp_path) == Book()
    assert "cannot be read" in caplog.text


def test_a_book_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert "No such file" in str(keep(tmp_path / "gone", Book()))

"""What is told when: once, again while it stands, and when it is over; across restarts and clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loosh_pipeline.alerting.book import (
    FILE,
    GROWN_AFTER_S,
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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"alerts": {"a": {}}, "webhook": {}}', "null"])
def test_a_book_that_cannot_be_read_is_begun_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(content)
    assert read(tmp_path) == Book()
    assert "cannot be read" in caplog.text


def test_a_book_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert "No such file" in str(keep(tmp_path / "gone", Book()))

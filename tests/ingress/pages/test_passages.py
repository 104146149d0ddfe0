"""Texts of strangers on a page: legible, and never more than there is room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from ingress.pages.passages import HEAD_CHARS, HEAD_LINES, cut, legible, passage


def test_a_short_text_is_shown_at_once() -> None:
    found = passage("two\nlines", 1000)
    assert (found.head, found.rest, found.chars, found.lines, found.whole) == ("two\nlines", "", 9, 2, True)


def test_of_a_long_text_the_beginning_is_shown_and_the_rest_when_it_is_asked_for() -> None:
    found = passage("word " * 400, 10_000)
    assert len(found.head) <= HEAD_CHARS
    assert found.head + found.rest == "word " * 400
    assert found.whole


def test_of_many_lines_some_are_shown() -> None:
    found = passage("x\n" * 5000, 100_000)
    assert found.head.count("\n") == HEAD_LINES
    assert found.lines == 5001


def test_what_is_larger_than_its_room_is_cut_and_says_of_how_much() -> None:
    found = passage("x" * 200_000, 6_000)
    assert (found.shown, found.chars, found.whole) == (6_000, 200_000, False)


@pytest.mark.parametrize("unseen", [*"\0\x1b\x7f\u202e\u2066\u200f\ud800", *"\u200b\u2060\ufeff\U000e0041\u00ad\u180e"])
def test_what_cannot_be_seen_is_marked(unseen: str) -> None:
    assert legible(f"a{unseen}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("seen", ["tab\there", "a\nb", "é", "👩‍🔬", "می‌خواهم", "שלום", "\u00a0", "汉字"])
def test_what_is_read_stays(seen: str) -> None:
    assert legible(seen) == seen


def test_line_ends_are_of_one_kind() -> None:
    assert legible("a\r\nb\rc\nd") == "a\nb\nc\nd"


def test_a_cut_is_marked() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc…"


@given(st.text(max_size=300), st.integers(0, 400))
def test_no_text_takes_more_than_its_room(text: str, room: int) -> None:
    found = passage(text, room)
    shown = found.head + found.rest
    assert legible(text).startswith(shown)
    assert len(escape(shown).encode()) <= room
    rest = legible(text)[len(shown) :]
    assert not rest or len(escape(shown + rest[0]).encode()) > room

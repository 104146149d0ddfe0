"""What is sent: everything that is due, nothing that means more than itself, no secret."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loosh_pipeline.alerting.book import Book, Telling, noted
from loosh_pipeline.alerting.conditions import Alert, Severity, Source
from loosh_pipeline.alerting.message import MESSAGE_CHARS, TEXT_CHARS, body, plain
from loosh_pipeline.redaction import Redactor

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def sent(*texts: str, telling: Telling | None = None) -> str:
    alerts = [Alert(str(n), Source.STORES, Severity.CRITICAL, text, "look") for n, text in enumerate(texts)]
    book = noted(Book(), alerts, NOW)
    keys = tuple(book.entries)
    made = body("validator 5F, subnet 78", book, telling or Telling(new=keys), Redactor(["canary-key"]))
    assert {name: made[name] for name in made if name != "text"} == {
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    return str(made["text"])


def test_one_message_tells_what_is_new_still_stands_and_is_over() -> None:
    text = sent("disk full", "chain away", "parked", telling=Telling(("0",), ("1",), ("2",), ("1",)))
    assert text.splitlines() == [
        "validator 5F, subnet 78: 1 new, 1 still, 1 over, 1 was",
        "(critical) disk full. To do: look",
        "(critical, still, since 2026-11-26 12:00 UTC) chain away. To do: look",
        "(over) parked",
        "(critical, was, from 2026-11-26 12:00 to 2026-11-26 12:00 UTC) chain away",
    ]


@pytest.mark.parametrize(
    "markup",
    ["<!channel>", "<https://evil.example|click>", "@everyone", "[click](https://evil.example)", "`code`", "*bold*"],
)
def test_a_strangers_markup_calls_nobody_and_links_nowhere(markup: str) -> None:
    text = sent(f"challenge {markup} is given up")
    assert markup not in text
    assert not set("<>`*[]") & set(text)
    assert "://" not in text
    assert "@e" not in text


def test_a_strangers_line_is_no_line_of_ours() -> None:
    assert len(sent("x\n(over) all is well\r\u2028\x1b[0m").splitlines()) == 2


def test_no_secret_is_sent() -> None:
    assert "canary" not in sent("refused with canary-key", "at https://user:canary-pass@host/x?key=canary-q")


def test_no_half_of_a_secret_is_left_where_a_text_is_cut() -> None:
    assert not any("canary" in sent("x" * before + "canary-key") for before in range(TEXT_CHARS - 10, TEXT_CHARS + 1))


def test_many_alerts_are_one_bounded_message_that_says_how_many_are_missing() -> None:
    text = sent(*["x" * 400] * 50)
    assert len(text) <= MESSAGE_CHARS + 60
    assert text.splitlines()[-1].endswith("more: loosh alerts lists all")
    assert int(text.splitlines()[-1].split()[1]) + len(text.splitlines()) - 2 == 50


def test_plain_words_are_left_alone() -> None:
    assert plain("größer, 5 % & c-1_a") == "größer, 5 % &amp; c-1_a"

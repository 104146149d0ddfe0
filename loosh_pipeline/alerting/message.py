"""Alerts as one message that Slack, Mattermost and Discord take, of which no stranger's text makes anything else.

Slack reads `&`, `<` and `>`; Mattermost and Discord `@` and links: each is made to stand for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from loosh_pipeline.alerting.book import Book, Telling
from loosh_pipeline.log_lines import escaped, shortened, without
from loosh_pipeline.redaction import Redact

TEXT_CHARS = 500
MESSAGE_CHARS = 3500
"""Discord takes 4000 through its Slack address, Slack 40,000."""
NOTHING = "\u200b"
"""A space of no width, which ends a word."""
MARKUP = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": f"@{NOTHING}", "`": "'", "*": "+", "[": "(", "]": ")"}
)


def body(who: str, book: Book, telling: Telling, redact: Redact) -> dict[str, object]:
    """The JSON object to be sent: of what is new first; what does not fit is counted."""
    about = (("new", telling.new), ("still", telling.again), ("over", telling.over), ("was", telling.was))
    counted = ", ".join(f"{len(keys)} {word}" for word, keys in about if keys)
    head = f"{who}: {counted or 'alerts can be told again'}"
    lines = [_line(word, book, key, redact) for word, keys in about for key in keys]
    return as_body(_fitting([plain(line) for line in (redact(head), *lines)]))


def as_body(text: str) -> dict[str, object]:
    """No markup, no preview of links."""
    return {"text": text, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def _line(word: str, book: Book, key: str, redact: Redact) -> str:
    alert = book.entries[key].alert
    text = without(redact, alert.text, partial(shortened, most=TEXT_CHARS))
    if word == "over":
        return f"(over) {text}"
    entry = book.entries[key]
    if word == "was":
        return f"({alert.severity}, was, from {_minute(entry.since)} to {_minute(entry.seen_at)} UTC) {text}"
    still = f", still, since {_minute(entry.since)} UTC" if word == "still" else ""
    return f"({alert.severity}{still}) {text}. To do: {alert.action}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def plain(text: str) -> str:
    """Text that means nothing but itself wherever it is shown, in one line."""
    return escaped(text).replace("://", f":{NOTHING}//").replace("www.", f"www{NOTHING}.").translate(MARKUP)


def _fitting(lines: Sequence[str]) -> str:
    kept: list[str] = []
    room = MESSAGE_CHARS
    for number, line in enumerate(lines):
        if len(line) + 1 > room:
            return "\n".join([*kept, f"and {len(lines) - number} more: loosh alerts lists all"])
        kept.append(line)
        room -= len(line) + 1
    return "\n".join(kept)

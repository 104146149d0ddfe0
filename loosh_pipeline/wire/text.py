"""Words of strangers, made fit for a log line, a table or a page."""

from __future__ import annotations

MAX_DETAIL_CHARS = 160
_PAGES = ("<!doctype html", "<html")


def printable(text: str, max_chars: int = MAX_DETAIL_CHARS) -> str:
    """`text` in one line of printable characters, cut to `max_chars`."""
    kept = "".join(char if char.isprintable() else "�" for char in text[:max_chars])
    return kept if len(text) <= max_chars else kept + "…"


def is_web_page(text: str) -> bool:
    """Whether an answer is for people's browsers, so that it says nothing to whoever asked."""
    return text.lstrip("\ufeff \t\r\n").lower().startswith(_PAGES)

"""Words of strangers, made fit for a log line, a table or a page."""

from __future__ import annotations

MAX_DETAIL_CHARS = 160


def printable(text: str, max_chars: int = MAX_DETAIL_CHARS) -> str:
    """`text` in one line of printable characters, cut to `max_chars`."""
    kept = "".join(char if char.isprintable() else "�" for char in text[:max_chars])
    return kept if len(text) <= max_chars else kept + "…"

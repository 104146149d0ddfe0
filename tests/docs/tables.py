"""Markdown tables of what strangers to Markdown wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]) + "\n"


def cell(text: str) -> str:
    """One line without a border in it; what looks like HTML outside of code is shown as it is."""
    parts = " ".join(text.split()).replace("|", "&#124;").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def code(text: str) -> str:
    return f"`{text}`" if text else ""

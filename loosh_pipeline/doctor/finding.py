"""What a check says: a line, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "look", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `look`: somebody should; `wrong`: the validator cannot do its work like this."""

    subject: str
    verdict: Verdict
    said: str
    todo: str = ""


def ok(subject: str, said: str) -> Finding:
    return Finding(subject, "ok", said)


def look(subject: str, said: str, todo: str = "") -> Finding:
    return Finding(subject, "look", said, todo)


def wrong(subject: str, said: str, todo: str) -> Finding:
    return Finding(subject, "wrong", said, todo)


def parts(error: Exception) -> tuple[str, str]:
    """What was wrong and what to do, of one of our errors, which say both with a semicolon, or a stop, between them."""
    said, _, todo = str(error).partition("; ")
    if not todo:
        said, _, todo = str(error).partition(". ")
    return said, todo

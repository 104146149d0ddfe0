"""Texts of strangers on a page: made legible, and cut where they would be more than a page can hold."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from markupsafe import escape

UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Control characters, such as turn the direction of reading, what takes no room, tags that nobody sees, and halves of
characters, which no page can hold. Joiners (200C, 200D) stay: Persian words and many emoji are written with them.
"""
HEAD_LINES = 10
HEAD_CHARS = 700


@dataclass(frozen=True, slots=True)
class Passage:
    """The beginning of a text: `head` is shown at once, `rest` when it is asked for. `chars` and `lines` are of the
    whole text, of which `shown` characters are here.
    """

    head: str
    rest: str
    chars: int
    lines: int

    @property
    def shown(self) -> int:
        return len(self.head) + len(self.rest)

    @property
    def whole(self) -> bool:
        return self.shown == self.chars


def legible(text: str) -> str:
    """The same with one kind of line end, and a mark in place of what cannot be seen."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def passage(text: str, room: int) -> Passage:
    """As much of a text as takes at most `room` bytes of a page."""
    clear = legible(text)
    shown = _fitting(clear, room)
    head = _head(shown)
    return Passage(head, shown[len(head) :], len(clear), clear.count("\n") + 1)


def cut(text: str, room: int) -> str:
    """The same in one piece, with a mark where it was cut."""
    clear = legible(text)
    shown = _fitting(clear, room)
    return shown if len(shown) == len(clear) else shown + "…"


def _fitting(text: str, room: int) -> str:
    """The longest beginning that takes at most so many bytes: an `&` takes five, an emoji four."""
    length = bisect_right(range(min(len(text), room) + 1), room, key=lambda n: len(escape(text[:n]).encode()))
    return text[: length - 1]


def _head(text: str) -> str:
    """Some lines of a text, all of it where hardly more would be left."""
    if len(text) <= 1.2 * HEAD_CHARS and text.count("\n") < 1.2 * HEAD_LINES:
        return text
    head = "".join(text.splitlines(keepends=True)[:HEAD_LINES])
    if len(head) > HEAD_CHARS:
        space = head.rfind(" ", HEAD_CHARS // 2, HEAD_CHARS)
        head = head[: space + 1 if space > 0 else HEAD_CHARS]
    return head

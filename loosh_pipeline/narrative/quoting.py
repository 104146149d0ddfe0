"""Texts of strangers, cut short and written down so that a model can tell them from what it is told to do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

_UNSEEN = frozenset(
    (
        *(*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810)),
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
    )
)
"""Variations, joiners, fillers and blanks: no controls, but they show nothing, and anything can hide in them."""
_OVERLAY = 1
"""The combining class of strokes through the character before them."""
_SPELLED_OUT = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "<>[]|`"})
"""What the marks of chat templates are written with (`<|im_start|>`, `[INST]`): some servers read them anywhere."""
_READ_CHARS = 8
"""How many characters are looked at for each that is kept: spaces and invisible ones are dropped."""


def excerpt(text: str, most_chars: int) -> str:
    """The beginning of a text as one line of visible characters, as long as `most_chars` at most."""
    seen = text[: most_chars * _READ_CHARS]
    visible = "".join(" " if char.isspace() else char for char in seen if char.isspace() or _is_visible(char))
    line = " ".join(visible.split())
    return line if len(line) <= most_chars else line[: most_chars - 1] + "…"


def quoted(record: Mapping[str, Any]) -> str:
    """A flat record as one line of JSON, in whose texts no mark of a chat template stands as it is."""
    return json.dumps(record, ensure_ascii=False).translate(_SPELLED_OUT)


def _is_visible(char: str) -> bool:
    """Neither a control, nor of no width, nor one that turns the direction, nor half a character."""
    return unicodedata.category(char)[0] != "C" and ord(char) not in _UNSEEN and unicodedata.combining(char) != _OVERLAY

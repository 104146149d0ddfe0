"""The characters of which a stored text of a model consists: plain ASCII, without what Markdown links or hides with.

An alphabet that is listed holds where a list of tricks does not: no other script, no invisible character, no escape, no
bracket, slash or address is in it. Nothing is normalised, so that what is checked is what is stored.
"""

from __future__ import annotations

import re

_TYPOGRAPHIC = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "−": "-", "•": "-", "\u00a0": " ", "\u202f": " "}
    | {"\t": " ", "\r": "", "_": " "}
)
_ALLOWED = re.compile(r"[A-Za-z0-9 \n.,;:()'\"!?=+%*-]*")
_JOINED = re.compile(r"[A-Za-z][.:][A-Za-z0-9]|\d[.:][A-Za-z]|[A-Za-z]\d|\d[A-Za-z]")
"""What a name of a host, a file or a port is joined with; and digits that are part of a word."""


_HEADING = re.compile(r"^#{1,6} +(.*?)[:.]?$", re.MULTILINE)


def in_ascii(text: str) -> str:
    """`text` with its typographic marks as ASCII has them, and its headings as lines that end in a colon."""
    return _HEADING.sub(r"\1:", text.translate(_TYPOGRAPHIC)).strip()


def is_plain(text: str) -> bool:
    """Whether it holds nothing but plain words, figures and Markdown's bold type, lists and paragraphs."""
    rendered = text.replace("**", "")
    items = re.sub(r"^ *\* ", "", rendered, flags=re.MULTILINE)
    return _ALLOWED.fullmatch(text) is not None and "*" not in items and _JOINED.search(rendered) is None

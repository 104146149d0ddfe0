"""What somebody who verifies gives on a command line, read once for both commands. Standard library alone."""

from __future__ import annotations

import re
from pathlib import Path

from loosh_pipeline.audit.acceptances import Told
from loosh_pipeline.audit.file import Level

LEVELS = tuple(Level)
"""From what shows least to what shows all."""
_DIGITS = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHOWN_CHARS = 70


def read_hash(text: str) -> str:
    """The hash of a block, as `0x…` in lower case. Raises ValueError for what is none."""
    return f"0x{_digits(text, 'hash of a block')}"


def read_root(text: str) -> str:
    """The root of a seal, in lower case without `0x`. Raises ValueError for what is none."""
    return _digits(text, "root of a seal")


def read_link(text: str) -> Told:
    """A link as the header said it, signed or not. Raises ValueError for what is none."""
    return Told.read(text.strip().lower())


def read_level(text: str) -> Level:
    """The level below which nothing is a match. Raises ValueError that lists them all."""
    if text.strip() not in LEVELS:
        raise ValueError(f"{cut(text)!r} is no level; there are {', '.join(LEVELS)}")
    return Level(text.strip())


def read_file(text: str) -> Path:
    """A file that is there and can be read. Raises ValueError for any other."""
    path = Path(text)
    if path.exists() and not path.is_file():
        raise ValueError(f"{text} is no file")
    try:
        path.open("rb").close()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"{text} cannot be read: {said}") from error
    return path


def cut(text: str) -> str:
    """Not more than a line shows, and marked where it is less."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _digits(text: str, what: str) -> str:
    found = text.strip().lower().removeprefix("0x")
    if not _DIGITS.fullmatch(found):
        many = f"{len(found)} characters" if len(found) != 64 else "other characters"
        raise ValueError(f"{cut(text)!r} is no {what}: that is 64 hexadecimal digits, whole, and these are {many}")
    return found

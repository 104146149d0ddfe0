"""What the documents show in fences, and the commands in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(
    path
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if path.parent.name != "reference"
)
"""All but the changelog, which says what was, and what is made from the code."""
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
OPERATORS = {"&&", "||", ";", "|", ">", ">>", "<"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fence: its page, its language, and what is in it."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> tuple[str, ...]:
        """Lines that are typed, without comments; those that a backslash continues are one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language != "sh":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return tuple(command for line in lines if (command := without_comment(line)))


def blocks() -> Iterator[Block]:
    for path in PAGES:
        for language, text in FENCE.findall(path.read_text("utf-8")):
            yield Block(str(path.relative_to(ROOT)), language, text)


def commands(*languages: str) -> dict[str, str]:
    """Every command in fences of these languages, in order, with the first page that shows it."""
    shown: dict[str, str] = {}
    for block in blocks():
        if block.language in languages:
            for command in block.commands:
                shown.setdefault(command, block.page)
    return shown


def without_comment(line: str) -> str:
    return " ".join(re.sub(r"(?:^|\s)#\s.*$", "", line).split())


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, without what is set for it and who runs it."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    found: list[str] = []
    for word in [*words, ";"]:
        if word in OPERATORS:
            if found:
                yield found
            found = []
        elif found or not re.match(r"[A-Z_]+=|time$", word):
            found.append(word)

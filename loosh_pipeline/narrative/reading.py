"""A model's text as sentences, each with the miners of which it speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ITEM = re.compile(r" *(?:[*-]|(\d{1,2})[.)]) +")
_SENTENCE_END = re.compile(r"(?<=[.!?;]) +")
_IN_BRACKETS = re.compile(r"\([^()]*\)")
_UID = r"\d+(?![%\d]|\.\d)(?! *(?:%|miners|answers|of|asked|answered))"
"""A whole number that counts nothing."""
_UIDS = re.compile(
    rf"\b(?:uids?|miners?|neurons?|nodes?)(?: uids?)?:? *(\(? *{_UID}"
    rf"(?:(?: *, *| )(?:(?:and|or) )?(?:(?:uids?|miners?) )?{_UID})*)"
)
_SINGULAR, _PLURAL = re.compile(r"\bits?\b"), re.compile(r"\b(?:they|their|them)\b")


@dataclass(frozen=True, slots=True)
class Mention:
    """Where in a sentence miners are named, and which."""

    start: int
    end: int
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence in lower case. `subject`: whom "it" or "they" stands for where no miner is named."""

    text: str
    mentions: tuple[Mention, ...]
    subject: tuple[int, ...]

    @property
    def uids(self) -> tuple[int, ...]:
        return tuple(uid for mention in self.mentions for uid in mention.uids) or self.subject


def blank(text: str, start: int, end: int, mark: str = " ") -> str:
    """`text` with marks in place of a part of it, so that positions stay."""
    return text[:start] + mark * (end - start) + text[end:]


def sentences(text: str) -> Iterator[Sentence]:
    """Of a text in plain ASCII. A line that ends in a colon is read together with each line of the list below it."""
    before: tuple[int, ...] = ()
    for line in _lines(text.replace("**", "").lower()):
        enclosed = _IN_BRACKETS.sub(lambda found: re.sub("[;.!?] ", ", ", found[0]), line)
        for said in _SENTENCE_END.split(enclosed):
            mentions = tuple(
                Mention(found.start(), found.end(), tuple(map(int, re.findall(r"\d+", found[1]))))
                for found in _UIDS.finditer(said)
            )
            carried = _PLURAL if len(before) > 1 else _SINGULAR
            sentence = Sentence(said, mentions, before if not mentions and carried.search(said) else ())
            before = sentence.uids
            yield sentence


def _lines(text: str) -> Iterator[str]:
    """Each line that says something, without the mark of a list; a number that does not count a list stays."""
    number, lead, items = 0, "", 0
    for line in filter(str.strip, re.sub(" +", " ", text).split("\n")):
        item = _ITEM.match(line)
        if item and item[1] is not None:
            number = 1 if int(item[1]) == 1 else number + 1
            item = item if int(item[1]) == number else None
        if item is None and items:
            lead = ""
        items = items + 1 if item and lead else 0
        said = line[item.end() :].strip() if item else line.strip()
        whole = f"{lead} {said}".strip()
        if said.endswith(":"):
            lead, items = whole, 0
        else:
            yield whole
            lead = lead if item else ""
    if lead and not items:
        yield lead

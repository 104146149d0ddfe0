"""What is taken for a right answer to a canary: a few rules, each simple enough that a miner's tricks can be foreseen.

    {"exact": "Paris"}                                   the whole answer, but for case, quotes, emphasis, punctuation
    {"number": 1234.5, "within": 0.01}                   the first or the last number of the answer
    {"contains": "Paris", "but_not": ["London", …]}      the phrase, in an answer of at most `most_words` words (40)
    {"regex": "\\b(4|four)\\b", "but_not": […]}          a pattern of RE2's kind: its time is linear in the text
    "Paris"                                              contains, in an answer of at most five words

An answer is right by one rule of several. Listing all that could be right is met thus: of numbers two count; a phrase
is looked for in short answers alone, without any of those that `but_not` names, and without words of mixed scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from loosh_pipeline.canaries.words import (
    MOST_CHARS,
    bare,
    has_mixed_scripts,
    has_phrase,
    numbers,
    plain_words,
    word_count,
)

KINDS = ("exact", "number", "contains", "regex")
ALLOWED = {
    "exact": frozenset({"exact"}),
    "number": frozenset({"number", "within"}),
    "contains": frozenset({"contains", "but_not", "most_words"}),
    "regex": frozenset({"regex", "but_not", "most_words"}),
}
MOST_WORDS = 40
"""An answer that is longer says more than was asked, and may say everything."""
MOST_WORDS_OF_TEXT = 5
"""The same where a rule is a text alone, which names no wrong answers."""
RULES_VERSION = 1
"""Raise it with what makes answers right or wrong otherwise: verdicts that were kept are then made again."""
MOST_PATTERN_CHARS = 500
LONGEST_MOST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, brought into plain words once for all rules. `bare` is without what stands around it, `numbers` are
    the first and the last one.
    """

    text: str
    words: str
    bare: str
    count: int
    mixed: bool
    numbers: tuple[frozenset[Decimal], ...]

    @classmethod
    def of(cls, text: str) -> Said:
        words = plain_words(text)
        return cls(text, words, bare(words), word_count(words), has_mixed_scripts(words), numbers(text))


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to be right. `value`: the text, number or pattern, by `kind`; texts in plain words, as `but_not` are."""

    kind: str
    value: str
    within: Decimal = Decimal(0)
    but_not: tuple[str, ...] = ()
    most_words: int = MOST_WORDS

    def holds(self, said: Said) -> bool:
        """Whether an answer is right by it."""
        match self.kind:
            case "exact":
                return said.bare == self.value
            case "number":
                wanted = Decimal(self.value)
                return any(abs(each - wanted) <= self.within for of in said.numbers for each in of)
            case _:
                return self._may_hold(said) and self._is_there(said.words)

    def _may_hold(self, said: Said) -> bool:
        """What costs little, before anything is looked for."""
        short = len(said.text) <= MOST_CHARS and said.count <= self.most_words
        return short and not said.mixed and not any(has_phrase(said.words, each) for each in self.but_not)

    def _is_there(self, words: str) -> bool:
        return has_phrase(words, self.value) if self.kind == "contains" else matches(self.value, words)


def matches(pattern: str, words: str) -> bool:
    """By an engine that does not backtrack, and without case. Raises ValueError for what is no pattern to it."""
    # Imported here: `loosh up` checks the file, and has no use for it in the months after.
    import polars as pl
    from polars.exceptions import ComputeError

    try:
        # A flag before it and no group around it: a pattern that is none by itself must not become one.
        return bool(pl.Series([words]).str.contains(f"(?i){pattern}").item())
    except ComputeError as error:
        raise ValueError(f"{pattern!r} is no pattern: {' '.join(str(error).split())[:200]}") from error


def is_right(answer: str, rules: Sequence[Rule]) -> bool:
    """Whether an answer is right by any of the rules; one without words never is."""
    said = Said.of(answer)
    return bool(said.words) and any(rule.holds(said) for rule in rules)


def rule_of(given: Any) -> Rule:
    """A rule as a file of canaries says it; a bare text or number is one that is contained, or stands last.

    Raises ValueError that says what is wrong with it.
    """
    if isinstance(given, str):
        given = {"contains": given, "most_words": MOST_WORDS_OF_TEXT}
    elif isinstance(given, int | float) and not isinstance(given, bool):
        given = {"number": given}
    if not isinstance(given, Mapping):
        raise ValueError(f"{given!r} is no rule; write it like {{'number': 42}}")
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"a rule has one of {', '.join(KINDS)}; {dict(given)!r} has {len(kinds)}")
    (kind,) = kinds
    if unknown := sorted(given.keys() - ALLOWED[kind]):
        raise ValueError(f"a rule of {kind} knows no {', '.join(map(str, unknown))}")
    rule = _number(given) if kind == "number" else _text(kind, given)
    if kind == "regex":
        matches(rule.value, "")
    return rule


def _number(given: Mapping[str, Any]) -> Rule:
    value, within = given["number"], given.get("within", 0)
    for each in (value, within):
        if isinstance(each, bool) or not isinstance(each, int | float) or abs(each) > 1e18 or each != each:
            raise ValueError(f"number and within are numbers of at most 18 digits; {each!r} is none")
    if within < 0:
        raise ValueError(f"within is {within}; it is a distance, from 0 on")
    return Rule("number", repr(value), within=Decimal(repr(within)))


def _text(kind: str, given: Mapping[str, Any]) -> Rule:
    value, most = given[kind], given.get("most_words", MOST_WORDS)
    but_not = given.get("but_not", ())
    if not isinstance(value, str) or not (value.strip() if kind == "regex" else bare(value)):
        raise ValueError(f"{kind} is {value!r}; it is a text with words")
    if kind == "regex" and len(value) > MOST_PATTERN_CHARS:
        raise ValueError(f"a pattern has at most {MOST_PATTERN_CHARS} characters; this one has {len(value)}")
    if isinstance(but_not, str) or not all(isinstance(each, str) and plain_words(each) for each in but_not):
        raise ValueError(f"but_not is {but_not!r}; it is a list of texts")
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= LONGEST_MOST_WORDS:
        raise ValueError(f"most_words is {most!r}; it is a number from 1 to {LONGEST_MOST_WORDS}")
    of_kind = {"exact": bare, "contains": plain_words}.get(kind, str)
    return Rule(kind, of_kind(value), but_not=tuple(plain_words(each) for each in but_not), most_words=most)

"""What is taken for a right answer to a canary: a few rules, each simple enough that a miner's tricks can be foreseen.

    {"exact": "Paris"}                                   the whole answer, but for case, quotes, emphasis, punctuation
    {"number": 1234.5, "within": 0.01}                   the last number of the answer, however its digits are grouped
    {"contains": "Paris", "but_not": ["London", …]}      the phrase, in an answer of at most `most_words` words (40)
    {"regex": "\\b(4|four)\\b", "but_not": […]}          a pattern of RE2's kind: its time is linear in the text

An answer is right by one rule of several. Listing all that could be right is met thus: of numbers the last one counts;
a phrase is looked for in short answers alone, without any of those that `but_not` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from loosh_pipeline.canaries.words import MOST_CHARS, bare, has_phrase, last_number, plain_words

KINDS = ("exact", "number", "contains", "regex")
ALLOWED = {
    "exact": frozenset({"exact"}),
    "number": frozenset({"number", "within"}),
    "contains": frozenset({"contains", "but_not", "most_words"}),
    "regex": frozenset({"regex", "but_not", "most_words"}),
}
MOST_WORDS = 40
"""An answer that is longer says more than was asked, and may say everything."""
MOST_PATTERN_CHARS = 500
LONGEST_MOST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to be right. `value`: the text, number or pattern, by `kind`."""

    kind: str
    value: str
    within: Decimal = Decimal(0)
    but_not: tuple[str, ...] = ()
    most_words: int = MOST_WORDS

    def holds(self, answer: str) -> bool:
        """Whether an answer is right by it."""
        match self.kind:
            case "exact":
                return bare(answer) == bare(self.value)
            case "number":
                wanted = Decimal(self.value)
                return any(abs(each - wanted) <= self.within for each in last_number(answer))
            case "contains":
                return self._found(answer, has_phrase(plain_words(answer), plain_words(self.value)))
            case _:
                return self._found(answer, matches(self.value, plain_words(answer)))

    def _found(self, answer: str, is_there: bool) -> bool:
        words = plain_words(answer)
        short = len(answer) <= MOST_CHARS and len(words.split()) <= self.most_words
        return is_there and short and not any(has_phrase(words, plain_words(each)) for each in self.but_not)


def matches(pattern: str, words: str) -> bool:
    """By an engine that does not backtrack, and without case. Raises ValueError for what is no pattern to it."""
    # Imported here: `loosh up` checks the file, and has no use for it in the months after.
    import polars as pl
    from polars.exceptions import ComputeError

    try:
        return bool(pl.Series([words]).str.contains(f"(?i:{pattern})").item())
    except ComputeError as error:
        raise ValueError(f"{pattern!r} is no pattern: {' '.join(str(error).split())[:200]}") from error


def is_right(answer: str, rules: Sequence[Rule]) -> bool:
    """Whether an answer is right by any of the rules; one without words never is."""
    return bool(plain_words(answer)) and any(rule.holds(answer) for rule in rules)


def rule_of(given: Any) -> Rule:
    """A rule as a file of canaries says it; a bare text or number is one that is contained, or stands last.

    Raises ValueError that says what is wrong with it.
    """
    if isinstance(given, str):
        given = {"contains": given}
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
    return Rule(kind, value, but_not=tuple(but_not), most_words=most)

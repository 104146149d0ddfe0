"""What is right, whatever a miner writes around it; and what is not, however cunning."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.canaries.questions import rules_of
from loosh_pipeline.canaries.rules import is_right, rule_of
from loosh_pipeline.canaries.words import MOST_CHARS, numbers, plain_words

RIGHT: list[tuple[Any, str]] = [
    ({"number": 391}, "391"),
    ({"number": 391}, "17 × 23 = 391."),
    ({"number": 391}, "First, 17 × 20 = 340; then 17 × 3 = 51. The sum is **391**."),
    ({"number": 391}, "\\boxed{391}"),
    ({"number": 1234567}, "1,234,567"),
    ({"number": 1234567}, "1.234.567"),
    ({"number": 1234567}, "1 234 567"),
    ({"number": 1234567}, "1\u202f234\u202f567 people"),
    ({"number": 1234567}, "1'234'567"),
    ({"number": 1234567}, "1_234_567"),
    ({"number": 1234567}, "about $1{,}234{,}567$"),
    ({"number": 1234.5}, "1,234.5"),
    ({"number": 1234.5}, "1.234,5"),
    ({"number": 1234}, "1.234"),
    ({"number": 1.234}, "1.234"),
    ({"number": 0.1}, "0,1"),
    ({"number": 42}, "٤٢"),
    ({"number": 42}, "４２"),
    ({"number": 42}, "42%"),
    ({"number": 42}, "€42"),
    ({"number": 42}, "42.0"),
    ({"number": -5}, "−5"),
    ({"number": -5}, "It is -5 °C."),
    ({"number": 1200}, "1.2e3"),
    ({"number": 3.14159, "within": 0.01}, "π ≈ 3.14"),
    ({"number": 42}, "The candidates were 40, 41, 42"),
    ({"exact": "Paris"}, "**Paris**."),
    ({"exact": "Paris"}, " \u201cPARIS\u201d\n"),
    ({"exact": "New York"}, "new\u00a0 york"),
    ({"exact": "Straße"}, "STRASSE"),
    ({"exact": "café"}, "cafe\u0301"),
    ({"contains": "Paris"}, "The capital of France is Paris."),
    ({"contains": "Paris"}, "Pa\u200bris"),
    ({"contains": "Paris", "but_not": ["London"]}, "It is Paris."),
    ({"regex": r"\b(4|four)\b"}, "There are Four."),
    ("Paris", "Paris, of course"),
    (7, "7"),
    (391, "**391** (that is 17 × 23)"),
    (391, "The result is 391.\n\nSources: [1]"),
    (391, "= 391.00 (2 decimals)"),
    (391, "- 391"),
    (391, "Answer — 391"),
    (0.5, ".5"),
    (-0.5, "-.5"),
    (-5, "–5"),
    (-5, "minus 5"),
    ({"contains": "C++"}, "I use C++."),
    ({"contains": "東京"}, "答えは東京です"),
    ("東京", "東京です。"),
    ({"contains": "Москва"}, "Москва (Moscow)"),
    ({"regex": "four|4"}, "FOUR"),
]
WRONG: list[tuple[Any, str]] = [
    ({"number": 391}, "390"),
    ({"number": 391}, ""),
    ({"number": 391}, "I cannot help with that."),
    ({"number": 391}, "390, no: 391, no: 392"),
    ({"number": 0.5}, "1/2"),
    ({"number": 1}, "1/2"),
    ({"number": 5}, "–5"),
    ({"number": 5}, "minus 5"),
    ({"number": 15}, "2026-11-15"),
    ({"number": 2026}, "2026-11-15"),
    ({"number": 202}, "2026-11-15"),
    ({"number": 1}, "1,234-5"),
    ({"number": 30}, "12:30"),
    ({"number": 5}, "3-5"),
    ("Paris", "Lyon Berlin Rome Paris London Madrid Vienna"),
    ("Paris", "Lyon,Berlin,Rome,Paris,London,Madrid"),
    ("東京", "京都大阪東京名古屋札幌"),
    ({"contains": "C"}, "C++"),
    ({"contains": "C"}, "C#"),
    ({"contains": "Paris", "but_not": ["London"]}, "L\u043endon or Paris"),
    ({"regex": "paris", "but_not": ["London"]}, "L\u043endon or Paris"),
    ({"number": 391}, "3910"),
    ({"number": 391}, "x391"),
    ({"number": 391}, "1391"),
    ({"number": 391}, " ".join(map(str, range(1000)))),
    ({"number": 391}, ", ".join(map(str, range(1000)))),
    ({"number": 391}, "390 391 392"),
    ({"number": 2}, "10²"),
    ({"number": 102}, "10²"),
    ({"number": 1234567}, "1,2,3,4,5,6,7"),
    ({"number": 12}, "1 2"),
    ({"exact": "Paris"}, "Paris or London"),
    ({"exact": "Paris"}, "It is Paris"),
    ({"exact": "Paris"}, "* . !"),
    ({"contains": "Paris"}, "Parisian"),
    ({"contains": "Paris"}, "Lyon"),
    ({"contains": "Paris", "but_not": ["London", "Berlin"]}, "Paris, London, Berlin"),
    ({"contains": "Paris", "but_not": ["London"]}, "Paris; Lon\u200bdon"),
    ({"contains": "Paris"}, "Paris " + "and some other city " * 20),
    ({"contains": "Paris"}, "Paris" + "," * 30_000),
    ({"regex": "four", "but_not": ["five"]}, "four or five"),
]


@pytest.mark.parametrize(("rule", "answer"), RIGHT)
def test_right(rule: Any, answer: str) -> None:
    assert is_right(answer, rules_of([rule]))


@pytest.mark.parametrize(("rule", "answer"), WRONG)
def test_wrong(rule: Any, answer: str) -> None:
    assert not is_right(answer, rules_of([rule]))


def test_one_rule_of_several_is_enough() -> None:
    rules = rules_of([42, {"exact": "forty-two"}])
    assert is_right("forty-two", rules)
    assert is_right("42", rules)
    assert not is_right("forty", rules)


BAD: list[tuple[Any, str]] = [
    (None, "is no rule"),
    (True, "is no rule"),
    ({}, "has 0"),
    ({"exact": "a", "number": 1}, "has 2"),
    ({"exact": "a", "within": 1}, "knows no within"),
    ({"number": "42"}, "is none"),
    ({"number": True}, "is none"),
    ({"number": float("nan")}, "is none"),
    ({"number": float("inf")}, "is none"),
    ({"number": 1, "within": -1}, "is a distance"),
    ({"exact": ""}, "text with words"),
    ({"exact": "?!"}, "text with words"),
    ({"contains": 3}, "text with words"),
    ({"contains": "a", "but_not": "b"}, "list of texts"),
    ({"contains": "a", "but_not": [""]}, "list of texts"),
    ({"contains": "a", "most_words": 0}, "from 1 to"),
    ({"regex": "("}, "is no pattern"),
    ({"regex": r"(a)\1"}, "is no pattern"),
    ({"regex": "a)|(.*"}, "is no pattern"),
    ({"regex": "a" * 501}, "at most 500"),
]


@pytest.mark.parametrize(("rule", "said"), BAD)
def test_what_is_no_rule_is_refused(rule: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rule_of(rule)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$", r"(.*a){20}$", r"((a*)*)*b"])
def test_no_pattern_and_no_answer_takes_long(pattern: str) -> None:
    """Each of these takes an engine that backtracks longer than the universe is old; this would never end."""
    begun_s = time.process_time()
    is_right("a" * 19_000 + "!", (rule_of({"regex": pattern, "most_words": 2000}),))
    assert time.process_time() - begun_s < 20


@pytest.mark.parametrize("piece", ["1,", "1 ", "1'", "-", "1e", "1.", "{,}", "e1", "٤,", "1 -1", ".1"])
def test_no_digits_take_long(piece: str) -> None:
    begun_s = time.process_time()
    for end in ("", "-1"):
        numbers((piece * MOST_CHARS)[: MOST_CHARS - 2] + end)
    assert time.process_time() - begun_s < 20


@pytest.mark.parametrize("marks", ["\u0301\u0316", "\u0344\u0316", "\u0323", "\uff9e\u0316"])
def test_no_marks_take_long(marks: str) -> None:
    """Putting a run of them in order takes time quadratic in its length: of this many, seconds for each rule."""
    rules = rules_of([391, "a", "b", {"contains": "c", "but_not": ["d", "e"]}, {"exact": "f"}])
    answer = ("a" + marks * MOST_CHARS)[:MOST_CHARS]
    assert len(plain_words(answer)) < 200
    begun_s = time.process_time()
    for _ in range(10):
        is_right(answer, rules)
    assert time.process_time() - begun_s < 10


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_answer_is_judged_alike_whatever_stands_around_it(answer: str) -> None:
    rules = rules_of([1, "a", {"exact": "b"}, {"regex": "c+"}])
    assert is_right(answer, rules) is is_right(f" \n{answer}\u200b ", rules)


@given(st.integers(-(10**12), 10**12), st.sampled_from([",", ".", " ", "'", "_", ""]))
def test_any_whole_number_is_read_however_it_is_grouped(number: int, separator: str) -> None:
    assert number in numbers(f"It is {number:,}".replace(",", separator))[-1]

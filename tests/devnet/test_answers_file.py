"""The answers of the devnet's miners: complete, of distinct quality by length, and honestly independent."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from importlib.resources import files
from itertools import combinations
from statistics import mean

import pytest

MODELS = ("atlas", "beacon", "cedar", "drift", "ember", "flint")
STRONG = ("atlas", "beacon", "cedar")
MIN_PROMPTS = 20
MIN_SENTENCE_WORDS = 6
# Well under what copies reach, so a copy detector under test never mistakes these answers for copies.
MAX_WORDING_COSINE = 0.70

Answers = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    text = files("loosh_pipeline.devnet").joinpath("data/answers.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def answers(rows: list[dict[str, str]]) -> Answers:
    by_prompt: Answers = {}
    for row in rows:
        by_prompt.setdefault(row["instruction"], {})[row["model"]] = row["output"]
    return by_prompt


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def sentences(text: str) -> set[str]:
    """Sentences and lines of at least `MIN_SENTENCE_WORDS` words, reduced to their words."""
    parts = (words(part) for part in re.split(r"[.!?:;]+\s|\n", text))
    return {" ".join(part) for part in parts if len(part) >= MIN_SENTENCE_WORDS}


def wording_cosine(left: str, right: str) -> float:
    """Cosine of the two texts' word counts, each count weighted 1 + ln(count)."""
    a, b = ({word: 1 + math.log(n) for word, n in Counter(words(text)).items()} for text in (left, right))
    dot = sum(weight * b.get(word, 0.0) for word, weight in a.items())
    return dot / math.sqrt(sum(w * w for w in a.values()) * sum(w * w for w in b.values()))


def test_rows_are_grouped_by_prompt_with_every_model_in_order(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= MIN_PROMPTS * len(MODELS)
    assert len(rows) % len(MODELS) == 0
    groups = [rows[start : start + len(MODELS)] for start in range(0, len(rows), len(MODELS))]
    for group in groups:
        assert {row["instruction"] for row in group} == {group[0]["instruction"]}
        assert tuple(row["model"] for row in group) == MODELS
    assert len({group[0]["instruction"] for group in groups}) == len(groups)


def test_rows_hold_three_trimmed_non_empty_texts(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert list(row) == ["instruction", "model", "output"]
        assert all(value and value == value.strip() for value in row.values()), row


def test_no_sentence_is_shared_between_two_models(answers: Answers) -> None:
    shared = [
        (prompt, left, right, sentence)
        for prompt, outputs in answers.items()
        for left, right in combinations(outputs, 2)
        for sentence in sentences(outputs[left]) & sentences(outputs[right])
    ]
    assert shared == []


def test_every_pair_of_answers_differs_in_wording(answers: Answers) -> None:
    too_close = [
        (prompt, left, right, round(cosine, 3))
        for prompt, outputs in answers.items()
        for left, right in combinations(outputs, 2)
        if (cosine := wording_cosine(outputs[left], outputs[right])) > MAX_WORDING_COSINE
    ]
    assert too_close == []


def test_models_fall_in_length_from_strong_to_poor(answers: Answers) -> None:
    length = {model: mean(len(words(outputs[model])) for outputs in answers.values()) for model in MODELS}
    assert min(length[model] for model in STRONG) > length["drift"] > length["ember"] > length["flint"]


def test_the_checks_catch_a_copied_answer(answers: Answers) -> None:
    original = next(iter(answers.values()))["atlas"]
    copy = original + " One more closing remark."
    assert wording_cosine(original, copy) > MAX_WORDING_COSINE
    assert sentences(original) & sentences(copy)

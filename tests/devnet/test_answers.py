"""The answer book of the devnet's miners."""

from __future__ import annotations

from pathlib import Path

import pytest

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.errors import DevnetError

ROWS = [
    ("Why is the sky blue?", "best", "Scattering."),
    ("Why is the sky blue?", "worst", "Paint."),
    ("How do bees make honey?", "best", "From nectar."),
]


def test_exact_prompt_whatever_its_case_and_punctuation() -> None:
    book = AnswerBook.of_rows(ROWS)
    assert book.answer("best", "why is the  SKY blue") == "Scattering."
    assert book.prompts == ("Why is the sky blue?", "How do bees make honey?")
    assert book.models == ("best", "worst")


def test_unknown_prompt_gets_the_answer_to_the_most_similar_one() -> None:
    book = AnswerBook.of_rows(ROWS)
    assert book.answer("best", "Do bees like honey?") == "From nectar."
    assert book.answer("best", "Is the sky far away?") == "Scattering."
    assert book.answer("worst", "How do bees make honey?") == "Paint."
    assert book.answer("best", "") == "Scattering."


def test_quality_orders_the_models() -> None:
    assert AnswerBook.of_rows(ROWS, quality=("worst", "best")).models == ("worst", "best")
    with pytest.raises(DevnetError, match="quality names"):
        AnswerBook.of_rows(ROWS, quality=("worst",))


def test_unknown_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(DevnetError, match=r"'other'.*best, worst"):
        AnswerBook.of_rows(ROWS).answer("other", "Why?")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no rows"),
        ("{", r"answers.jsonl:1 is not JSON"),
        ('\n{"instruction": "a", "model": "b"}', r"answers.jsonl:2 must be an object"),
        ('{"instruction": "a", "model": "b", "output": " "}', "must be an object"),
        ("[]", "must be an object"),
        ('{"instruction": "a", "model": "b", "output": "c"}\n' * 2, "answers 'a' twice"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(DevnetError, match=reason):
        AnswerBook.load(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevnetError, match="cannot be read"):
        AnswerBook.load(tmp_path / "none.jsonl")


def test_shipped_file_loads_with_the_models_from_best_to_poorest() -> None:
    book = AnswerBook.load()
    assert book.models == ("atlas", "beacon", "cedar", "drift", "ember", "flint")
    assert len(book.prompts) >= 20
    assert all(book.answer(model, prompt) for model in book.models for prompt in book.prompts)

from __future__ import annotations

from typing import Any

import pytest

from loosh_pipeline.scoring.network.keywords import keyword_share, prompt_keywords


def test_terms_and_shares_of_the_worked_batch(cases: dict[str, dict[str, Any]]) -> None:
    given, expected = cases["C07"]["input"], cases["C07"]["output"]
    keywords = prompt_keywords(given["prompt"], given["responses"])
    # terms of equal weight have no order
    assert sorted(keywords) == sorted(expected["keywords"])
    for text, breakdown in zip(given["responses"], expected["breakdowns"], strict=True):
        assert keyword_share(text, keywords) == pytest.approx(breakdown["keyword_coverage"], abs=1e-6)


def test_only_the_heaviest_ten_terms_of_the_prompt_are_kept() -> None:
    prompt = "zebra " * 3 + "apple berry cherry grape lemon mango olive peach quince"
    keywords = prompt_keywords(prompt, ["melon tree", "apple berry"])
    assert len(keywords) == 10
    assert keywords[0] == "zebra"
    assert not {"melon", "tree", "apple", "berry"} & set(keywords)


def test_a_term_counts_inside_a_word() -> None:
    assert keyword_share("The CATALOGUE is here.", ["cat", "dog"]) == 0.5


@pytest.mark.parametrize("prompt", ["Is it? What?", "…"])
def test_a_prompt_of_common_words_has_no_terms(prompt: str) -> None:
    assert prompt_keywords(prompt, ["Paris is large."]) == []
    assert prompt_keywords(prompt, ["it is"]) == []

"""Texts that are made up: as long as a model's, about what was asked, and hardly ever the same."""

from __future__ import annotations

import statistics
from random import Random

from loosh_pipeline.devnet.essays import WORDS, essay

PROMPT = "Why do violins in damp halls lose their tone when winter comes?"


def test_a_generator_decides_which_text_it_is() -> None:
    assert essay(PROMPT, Random(1)) == essay(PROMPT, Random(1))
    assert essay(PROMPT, Random(1)) != essay(PROMPT, Random(2))


def test_texts_are_as_long_as_those_of_models() -> None:
    texts = [essay(PROMPT, Random(seed)) for seed in range(200)]
    assert abs(statistics.mean(len(text.split()) for text in texts) - WORDS) < 5
    assert 11 <= statistics.mean(text.count(". ") + 1 for text in texts) <= 12


def test_texts_name_what_was_asked_and_repeat_hardly_a_sentence() -> None:
    texts = [essay(PROMPT, Random(seed)) for seed in range(50)]
    assert all({"violins", "halls", "winter"} & set(text.lower().split()) for text in texts)
    sentences = [sentence for text in texts for sentence in text.split(". ")]
    assert len(set(sentences)) > 0.99 * len(sentences)


def test_a_prompt_without_a_word_is_answered_too() -> None:
    assert len(essay("2 + 2 = ?", Random(1)).split()) > WORDS / 2

from __future__ import annotations

import time
from typing import Any

import pytest

from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.network.text import (
    density,
    marker_count,
    prompt_components,
    sentences,
    specificity,
    structural_coherence,
)

Cases = dict[str, dict[str, Any]]

HOSTILE = {
    "one word": "a" * 1_000_000,
    "spaces": " " * 1_000_000,
    "spaces between words": "a" + " " * 1_000_000 + "b",
    "lines": "\n" * 1_000_000,
    "line and spaces": ("\n" + " " * 50) * 20_000,
    "ends": ". " * 300_000,
    "terminators": "." * 1_000_000,
    "digits": "1" * 1_000_000 + "\n" + "2" * 1_000_000,
    "commas": ", " * 300_000,
    "relatives": "that " * 200_000,
    "relatives far apart": ("that" + " " * 1000) * 500,
    "conjunctions": "and " * 200_000,
    "markers": "as a such on the other in " * 40_000,
    "questions": "? " * 300_000,
}


@pytest.mark.parametrize("name", ["empty", "one_word", "plain", "specific", "listy", "caps_gibberish"])
def test_plain_signals_of_the_worked_texts(name: str, cases: Cases) -> None:
    text, expected = cases["C02"]["input"][name], cases["C02"]["output"][name]
    assert density(text) == pytest.approx(expected["density"], abs=1e-6)
    assert specificity(text) == pytest.approx(expected["specificity"], abs=1e-6)
    assert structural_coherence(text) == pytest.approx(expected["heuristic_coherence"], abs=1e-6)
    assert sentences(text) == expected["sentences"]


def test_parts_of_the_worked_prompts(cases: Cases) -> None:
    assert [prompt_components(prompt) for prompt in cases["C03"]["input"]] == cases["C03"]["output"]


@pytest.mark.parametrize("name", ["pair_good", "three_one_outlier", "ten_with_test_mode"])
def test_sentences_and_parts_of_recorded_rounds(name: str, recorded: Cases) -> None:
    case = recorded[name]
    texts = [case["miners"][i]["response_text"] for i in case["valid_indices"]]
    assert prompt_components(case["prompt"]) == case["prompt_components"]
    assert [sentence for text in texts for sentence in sentences(text)] == case["sentences"]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("What is a hash?", ["What is a hash?"]),
        ("Why is that so? Tell me more about it", ["Why is that so?", "Tell me more about it?"]),
        (
            "- name three fruits\n* name two trees\n• name one fish",
            ["name three fruits", "name two trees", "name one fish"],
        ),
        ("1) list the causes\n  2) list the effects", ["list the causes", "list the effects"]),
        ("Name three fruits\nName two trees\nshort one", ["Name three fruits", "Name two trees"]),
        ("name three fruits; name two trees", ["name three fruits", "name two trees"]),
        ("Name three fruits AND name two trees", ["Name three fruits", "name two trees"]),
        ("Name all wonderful things: and so on", ["Name all wonderful things", "and so on"]),
        ("salt and pepper", ["salt and pepper"]),
        ("Explain the process, because nobody knows it", ["Explain the process", "because nobody knows it"]),
        ("Tell me something, even though it hurts", ["Tell me something", "even though it hurts"]),
        ("Find the town that all of them have seen", ["Find the town", "that all of them have seen"]),
        ("Find the town that all of the men have seen", ["Find the town that all of the men have seen"]),
        (" \n ", []),
    ],
)
def test_the_first_rule_that_gives_two_parts_decides(prompt: str, parts: list[str]) -> None:
    assert prompt_components(prompt) == parts


def test_a_line_break_alone_ends_no_sentence() -> None:
    assert sentences("One two three\nfour five six. Seven\neight nine!\n\nTen eleven.") == [
        "One two three\nfour five six.",
        "Seven\neight nine!",
    ]
    assert sentences("It costs 3.5 euros today.") == ["It costs 3.5 euros today."]
    assert sentences("Yes it is.", min_words=4) == []


def test_markers_are_whole_words_in_any_case() -> None:
    assert marker_count("First, we do it. BECAUSE of that, on the other hand, sofas stay; secondly nothing.") == 3


def test_density_counts_words_with_their_punctuation() -> None:
    assert density("This matters, THAT does not.") == pytest.approx(2 / 5)
    assert density("   ") == 0


def test_marks_of_a_concrete_answer_add_up_to_their_limits() -> None:
    assert specificity("plain words here") == 0
    assert specificity("in 3 days") == pytest.approx(0.3)
    assert specificity("He met Ann. She met Bob") == pytest.approx(0.2)
    assert specificity("we met Ann Bob Cid Dan") == pytest.approx(0.3)
    assert specificity("extraordinary is one of ten such long words you can make") == pytest.approx(2 / 11)
    assert specificity("thorough explanations") == pytest.approx(0.2)
    assert specificity("thorough") == 0
    assert specificity("so: it goes") == pytest.approx(0.2)


def test_structure_prefers_several_sentences_of_usual_length() -> None:
    assert structural_coherence("word " * 31) == pytest.approx(0.5)
    assert structural_coherence("word " * 30) == pytest.approx(0.8)
    assert structural_coherence("Yes. No.") == pytest.approx(0.5)


def test_each_text_is_embedded_once_in_a_fixed_order() -> None:
    reply = "It is a city. It lies in France."
    assert texts_to_embed("What is Paris? Where does it lie?", [reply, "", reply]) == [
        "What is Paris? Where does it lie?",
        reply,
        "",
        "It is a city.",
        "It lies in France.",
        "What is Paris?",
        "Where does it lie?",
    ]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_work_is_linear_in_the_length_of_a_text(text: str) -> None:
    started = time.process_time()
    for read in (sentences, prompt_components, marker_count, density, specificity, structural_coherence):
        read(text)
    assert time.process_time() - started < 8  # a quadratic pattern takes minutes

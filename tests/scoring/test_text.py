from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.scoring import text as units
from loosh_pipeline.scoring.text import chunks, sentences, words

HOSTILE = {
    "one word": "a" * 2_000_000,
    "no words": " \n\t" * 500_000,
    "dots": ". " * 500_000,
    "quotes": "." + '"' * 1_000_000,
    "spaces after a dot": "end." + " " * 1_000_000 + "x",
    "abbreviations": "e.g. Dr. " * 100_000,
    "newlines": "a b c\n" * 200_000,
    "combining marks": "e" + "\u0301" * 500_000,
    "expanding ligature": "\ufdfa" * 500_000,
    "unsorted marks": "a" + "\u0315" * 200_000 + "\u0300" * 200_000,
    "marks by decomposition": "か" + "\u0315" * 200_000 + "\uff9e" * 200_000,
    "surrogates": "\ud800 lone \udfff " * 100_000,
    "ideographs": "天空是蓝色的" * 100_000,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The sky is BLUE, isn't it?", ["the", "sky", "is", "blue", "isn", "t", "it"]),
        ("snake_case 42", ["snake_case", "42"]),
        ("Straße ﬁne ＡＢＣ", ["strasse", "fine", "abc"]),
        ("天空 blue", ["天", "空", "blue"]),
        ("¡¿…?! 👍", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The sky is blue. It scatters light! Why is that?",
            ["The sky is blue.", "It scatters light!", "Why is that?"],
        ),
        ("Use a tool, e.g. a hammer, for Dr. Smith today.", ["Use a tool, e.g. a hammer, for Dr. Smith today."]),
        ("It costs 3.5 euros. Then it rose to 4.2 euros.", ["It costs 3.5 euros.", "Then it rose to 4.2 euros."]),
        (
            "Steps:\n1. Heat the butter\n2. Add the salt\n- Stir it well",
            ["Heat the butter", "Add the salt", "Stir it well"],
        ),
        ('He said "stop right now." Then he left.', ['He said "stop right now.', "Then he left."]),
        ("def f(x):\n    return x + 1\n\n", ["def f(x):", "return x + 1"]),
        ("天空是蓝色的。因为散射。", ["天空是蓝色的。", "因为散射。"]),
        ("Paris.", ["Paris."]),
        ("...", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_sentence_without_an_end_is_cut_into_windows() -> None:
    parts = sentences("word " * 150)
    assert [len(words(part)) for part in parts] == [50, 50, 50]


def test_windows_are_equal_and_cover_the_whole_text_in_order() -> None:
    text = " ".join(f"w{i}" for i in range(200))
    parts = chunks(text)
    assert [len(part.split()) for part in parts] == [66, 67, 67]
    assert " ".join(parts) == text


def test_a_short_text_is_one_window_with_its_spaces_collapsed() -> None:
    assert chunks("  two\n\n words ") == ["two words"]
    assert chunks("  ?! ") == []


def test_long_words_fill_a_window_faster() -> None:
    assert len(chunks("a" * 16 * 90)) == 1
    assert len(chunks("a" * 16 * 91)) == 2
    assert len(chunks("天" * 181)) == 2


def test_a_window_needs_a_word() -> None:
    with pytest.raises(ValueError, match="max_words is 0"):
        chunks("text", max_words=0)


def test_units_beyond_the_limit_are_taken_evenly_from_first_to_last() -> None:
    parts = chunks(" ".join(f"w{i}" for i in range(90 * 100)))
    assert len(parts) == units.MAX_CHUNKS
    assert parts[0].startswith("w0 ")
    assert parts[-1].endswith(" w8999")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_work_on_hostile_text_is_bounded(text: str) -> None:
    started = time.process_time()
    parts, said, bag = chunks(text), sentences(text), words(text)
    assert time.process_time() - started < 8  # a quadratic pattern takes minutes
    assert len(parts) <= units.MAX_CHUNKS
    assert len(said) <= units.MAX_SENTENCES
    assert len(bag) <= 18 * units.MAX_CHARS
    assert max(map(len, parts), default=0) <= 90 * 17


@pytest.mark.parametrize("name", ["unsorted marks", "marks by decomposition"])
def test_runs_of_combining_marks_do_not_take_quadratic_time(name: str) -> None:
    started = time.process_time()
    words(HOSTILE[name])
    assert time.process_time() - started < 2


def test_a_run_keeps_thirty_marks() -> None:
    for mark in ("\u0300", "\uff9e"):
        kept = "q" + mark * 30 + "r"
        assert units.stream_safe("q" + mark * 100 + "r" + mark) == kept + mark
        assert units.stream_safe(kept) == kept


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_usual_text_is_normalised_as_it_is(text: str) -> None:
    assert words(text) == units._WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@given(st.text())
def test_any_text_yields_encodable_units_with_words(text: str) -> None:
    has_words = bool(words(text))
    for part in chunks(text) + sentences(text):
        part.encode("utf-8")
    assert bool(chunks(text)) == bool(sentences(text))
    assert has_words >= bool(chunks(text))

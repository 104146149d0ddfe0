from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.scoring.network import quality
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.quality import (
    Quality,
    Signals,
    chain_coherence,
    composite,
    gated,
    heuristic_quality,
    marker_complexity,
    score_quality,
    sigmoid,
    step_complexity,
)
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.vectors import Vectors, unit_rows

Cases = dict[str, dict[str, Any]]
PROFILE = NetworkProfile()
SHARED = (
    *("relevance", "sentence_relevance", "coherence", "local_coherence", "global_coherence", "coherence_break_rate"),
    *("coverage", "covered_components", "total_components", "complexity", "step_score", "num_steps", "novelty"),
    *("redundancy", "density", "specificity", "composite", "sentence_count"),
)
"""What a recorded breakdown and a `Quality` call by the same name."""


def assert_like(scored: Quality, breakdown: Mapping[str, float], tolerance: float) -> None:
    assert {name: getattr(scored, name) for name in SHARED} == pytest.approx(
        {name: breakdown[name] for name in SHARED}, abs=tolerance
    )
    assert scored.raw_relevance == pytest.approx(breakdown["full_response_relevance"], abs=tolerance)


def unit(rows: Any) -> Vectors:
    return unit_rows(np.array(rows))


def planted(prompt: str, *texts: str, seed: int = 0) -> dict[str, Vectors]:
    """Vectors at random around one direction, so that every text is relevant."""
    rng = np.random.default_rng(seed)
    needed = texts_to_embed(prompt, texts)
    return dict(zip(needed, unit(np.eye(8)[0] + rng.normal(size=(len(needed), 8)) * 0.3), strict=True))


@pytest.mark.parametrize("name", ["pair_good", "three_one_outlier", "ten_with_test_mode"])
def test_recorded_rounds(name: str, recorded: Cases, vectors: Mapping[str, Vectors]) -> None:
    case = recorded[name]
    texts = [case["miners"][i]["response_text"] for i in case["valid_indices"]]
    scored = score_quality(case["prompt"], texts, vectors, PROFILE)
    for reply, breakdown in zip(scored, case["output"]["quality_breakdowns"], strict=True):
        assert_like(reply, breakdown, 1e-5)
    assert [reply.value for reply in scored] == pytest.approx(case["output"]["quality_after_gate"], abs=1e-5)


def test_worked_batch(cases: Cases) -> None:
    given_, expected = cases["C07"]["input"], cases["C07"]["output"]
    table = {text: unit([row])[0] for text, row in given_["embeddings"].items()}
    scored = score_quality(given_["prompt"], given_["responses"], table, PROFILE)
    assert [reply.value for reply in scored] == pytest.approx(expected["scores"], abs=1e-6)
    for reply, breakdown in zip(scored, expected["breakdowns"], strict=True):
        assert_like(reply, breakdown, 1e-6)


def test_worked_sigmoids(cases: Cases) -> None:
    for point, expected in cases["C01"]["output"].items():
        value, midpoint, steepness = (float(part.split("=")[1]) for part in point.split(","))
        assert sigmoid(value, midpoint, steepness) == pytest.approx(expected, abs=1e-6)


def test_floor_and_ceiling_of_a_composite() -> None:
    assert composite(Signals(0, 0, 0, 0, 0, 0), PROFILE) == pytest.approx(0.064893564, abs=1e-6)
    assert composite(Signals(1, 1, 1, 1, 1, 1), PROFILE) == 1


@pytest.mark.parametrize(
    "name", ["off_topic_but_dense", "ordinary_answer", "excellent_answer", "all_half", "short_true_answer"]
)
def test_worked_composites(name: str, cases: Cases) -> None:
    x = cases["C27"]["input"][name]
    signals = Signals(x["rel"], x["coh"], x["cov"], x["cx"], x["den"], x["spec"])
    assert composite(signals, PROFILE) == pytest.approx(cases["C27"]["output"][name]["clipped"], abs=1e-6)


def test_worked_coherence(cases: Cases) -> None:
    rows = unit(cases["C05"]["input"]["sentence_embeddings_normalised"])
    expected = cases["C05"]["output"]
    found = chain_coherence(rows, PROFILE)
    assert found.local_coherence == pytest.approx(expected["local"], abs=1e-6)
    assert found.global_coherence == pytest.approx(expected["global"], abs=1e-6)
    assert found.break_rate == pytest.approx(expected["break_rate"], abs=1e-6)
    whole = expected["combined_before_penalty"]
    assert found.value == pytest.approx(whole * (1 - expected["break_rate"]), abs=1e-6)
    assert chain_coherence(rows, NetworkProfile(break_rate_limit=0.4)).value == pytest.approx(whole, abs=1e-6)


def test_coherence_of_opposite_sentences_is_0_and_keeps_the_floor() -> None:
    rows = unit([[1.0, 0.0], [-1.0, 0.0]])
    assert chain_coherence(rows, PROFILE) == quality.Coherence(0.0, 0.0, 0.0, 1.0)
    broken = unit([[1.0, 0.0], [0.0, 1.0]])
    assert chain_coherence(broken, PROFILE).value == pytest.approx(0.4 * np.sqrt(0.5) * 0.5)


def test_worked_complexity(cases: Cases) -> None:
    rows = unit(cases["C06"]["input"]["sentence_embeddings_normalised"])
    expected = cases["C06"]["output"]["open_gate"]
    found = step_complexity(rows, PROFILE)
    assert found.num_steps == expected["num_steps"]
    for name in ("step_score", "novelty", "redundancy"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-6)
    assert found.value == pytest.approx(expected["complexity"], abs=1e-6)


@pytest.mark.parametrize(("chords", "steps"), [((0.5, 0.5), 2), ((0.4, 0.45), 1)])
def test_steps_are_as_far_apart_as_their_sentences_on_average(chords: tuple[float, float], steps: int) -> None:
    """The nearest sentences are closer than the cut in both; only in the first are the two clusters not."""
    angles = np.cumsum([0.0, *(2 * np.arcsin(chord / 2) for chord in chords)])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.linalg.norm(rows[2] - rows[0]) > PROFILE.complexity_distance
    assert step_complexity(rows, PROFILE).num_steps == steps


def test_worked_complexity_of_one_sentence(cases: Cases) -> None:
    expected = cases["C06"]["output"]["single_sentence_no_embedding"]
    text = "However we stop because it works"
    assert marker_complexity(text, 1).value == pytest.approx(expected["complexity"], abs=1e-6)
    assert marker_complexity("we stop there", 1).value == 0
    assert marker_complexity("because", 0).value == 0


def test_complexity_needs_relevance_and_coherence() -> None:
    text = "First we add. However we stop because it works. Finally done here now."
    table = planted("Explain the steps", text)
    reply = score_quality("Explain the steps", [text], table, PROFILE)[0]
    assert reply.complexity > 0
    for gate, least in (("relevance", reply.relevance), ("coherence", reply.coherence)):
        name = f"complexity_{gate}_gate"
        at = score_quality("Explain the steps", [text], table, NetworkProfile(**{name: least}))[0]
        above = score_quality("Explain the steps", [text], table, NetworkProfile(**{name: least + 1e-9}))[0]
        assert at.complexity == reply.complexity
        assert (above.complexity, above.num_steps, above.novelty) == (0, 0, 0)


def test_worked_gate(cases: Cases) -> None:
    case = cases["C25"]
    pairs = zip(case["input"]["quality"], case["input"]["raw_relevance"], strict=True)
    assert [gated(value, raw, PROFILE) for value, raw in pairs] == case["output"]


def test_worked_fallback(cases: Cases) -> None:
    case = cases["C26"]
    found = [heuristic_quality(text, PROFILE) for text in case["input"]["texts"]]
    assert found == pytest.approx(case["output"], abs=1e-6)
    assert heuristic_quality("", PROFILE, relevance=-0.25) == pytest.approx(-0.1)


@pytest.mark.parametrize(("cosine", "expected"), [(0.05, 0.069), (0.30, 0.117)])
def test_an_empty_reply_has_little_quality(cosine: float, expected: float) -> None:
    table = {"Say something": np.array([1.0, 0.0]), "": np.array([cosine, np.sqrt(1 - cosine**2)])}
    reply = score_quality("Say something", [""], table, PROFILE)[0]
    assert reply.composite == pytest.approx(expected, abs=5e-4)
    assert reply.value == (reply.composite if cosine >= 0.2 else 0)
    assert (reply.coherence, reply.density, reply.specificity, reply.complexity, reply.sentence_count) == (0,) * 5


def test_relevance_looks_at_the_better_half_of_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve. Red green blue."
    cosines = [0.9, 0.1, 0.5, 0.2, 0.7]
    table = {"What is it": np.array([1.0, 0.0]), text: np.array([0.6, 0.8])}
    table |= {s: np.array([c, np.sqrt(1 - c * c)]) for s, c in zip(quality.sentences(text), cosines, strict=True)}
    reply = score_quality("What is it", [text], table, PROFILE)[0]
    assert reply.sentence_relevance == pytest.approx(0.8)
    assert reply.relevance == pytest.approx(0.4 * 0.6 + 0.4 * 0.8 + 0.2)


def test_a_part_is_covered_by_one_sentence_at_the_threshold() -> None:
    prompt, text = "Name the first river; name the last river", "Here is one. There flows it. So it goes."
    east, north, up = np.eye(3)
    table = {prompt: east, "Name the first river": east, "name the last river": north, text: up, "Here is one.": up}
    table |= {"There flows it.": unit([[0.45, 0.0, np.sqrt(1 - 0.45**2)]])[0], "So it goes.": up}
    reply = score_quality(prompt, [text], table, NetworkProfile(coverage_threshold=0.449999))[0]
    assert (reply.covered_components, reply.total_components, reply.coverage) == (1, 2, 0.5)
    beyond = score_quality(prompt, [text], table, NetworkProfile(coverage_threshold=0.450001))[0]
    assert beyond.coverage == 0


def test_without_parts_key_terms_stand_in_for_coverage() -> None:
    prompt, text = "Paris? Rome?", "Rome is nice today"
    table = {prompt: np.array([1.0, 0.0]), text: np.array([0.6, 0.8])}
    reply = score_quality(prompt, [text], table, PROFILE)[0]
    found = 0.8 * 0.6
    # one of "paris", "rome" and "paris rome"
    assert reply.coverage == pytest.approx(found + 0.2 / 3)
    assert reply.relevance == pytest.approx(found + 0.2 * reply.coverage)
    assert reply.total_components == 0


def test_without_parts_and_terms_raw_relevance_stands_in() -> None:
    table = {"Is it? So?": np.array([1.0, 0.0]), "of the": np.array([0.6, 0.8])}
    reply = score_quality("Is it? So?", ["of the"], table, PROFILE)[0]
    assert reply.coverage == pytest.approx(0.6)


def test_key_terms_are_not_looked_for_where_they_cannot_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> list[str]:
        raise AssertionError("key terms were looked for")

    monkeypatch.setattr(quality, "prompt_keywords", unwanted)
    table = planted("Explain it", "Because it is so.")
    assert len(score_quality("Explain it", ["Because it is so."], table, PROFILE)) == 1


def test_no_replies_have_no_quality() -> None:
    assert score_quality("Explain it", [], {"Explain it": np.array([1.0, 0.0])}, PROFILE) == ()


def test_a_text_without_a_vector_is_named() -> None:
    with pytest.raises(ValueError, match="no vector of 'One reply here"):
        score_quality("Explain it", ["One reply here."], {"Explain it": np.array([1.0, 0.0])}, PROFILE)


def test_a_reply_is_scored_by_itself() -> None:
    texts = ("First we add. Then we stop at once.", "Because it is so.", "")
    table = planted("Explain the steps", *texts)
    together = score_quality("Explain the steps", texts, table, PROFILE)
    assert together == tuple(score_quality("Explain the steps", [text], table, PROFILE)[0] for text in texts)


@given(st.lists(st.sampled_from(["One two three. ", "However, 3 Cats sat: yes! ", "So what\n", "? ", ""]), max_size=12))
def test_any_reply_has_a_quality_between_0_and_1(pieces: list[str]) -> None:
    text = "".join(pieces)
    reply = score_quality("Explain the steps", [text], planted("Explain the steps", text), PROFILE)[0]
    assert 0 <= reply.value <= reply.composite <= 1
    for name in ("coherence", "complexity", "density", "specificity"):
        assert 0 <= getattr(reply, name) <= 1


def test_fifty_replies_take_a_fifth_of_a_second_at_most(recorded: Cases, vectors: Mapping[str, Vectors]) -> None:
    case = recorded["ten_with_test_mode"]
    texts = [case["miners"][i]["response_text"] for i in case["valid_indices"]]
    took = []
    for _ in range(3):
        started = time.thread_time()
        score_quality(case["prompt"], (texts * 7)[:50], vectors, PROFILE)
        took.append(time.thread_time() - started)
    assert min(took) < 0.2

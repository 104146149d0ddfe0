"""What was made quicker says the same to the last bit: each beside the plain form that it took the place of.

Bits of whole scores hang on the machine's numpy, so they are compared within one process and not with stored ones.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, text_sha256, unpack
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.measure import _is_unit
from loosh_pipeline.scoring.network import consensus, text
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.pairs import PairEvidence
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores, Score
from loosh_pipeline.scoring.score import score
from loosh_pipeline.scoring.vectors import unit_vector
from loosh_pipeline.scoring.wording import word_weight, wording_similarity
from loosh_pipeline.store.score_frames import (
    PAIRS,
    ROUND,
    SCORES,
    Scored,
    pairs_frame,
    pairs_frames,
    scores_frame,
    scores_frames,
)
from loosh_pipeline.store.vector_frames import from_frame, to_frame
from tests.builders import NOON, response

WORDS = ("Aa", "Bé", "²", "7", "the", "Zurich,", "extraordinarily.", "no:", "End?", "ß")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)
PROFILES = (RobustProfile(), NetworkProfile())


def reference_round(number: int, models: int = 7) -> tuple[Any, str]:
    book = AnswerBook.load()
    prompt = book.prompts[number % len(book.prompts)]
    responses = [response(f"hotkey-{m}", text=book.answer(m, prompt)) for m in book.models[:models]]
    stored = embed_round(HashingEmbedder(), ChallengeId(f"c-{number}"), prompt, responses)
    return unpack(from_frame(to_frame(stored)), prompt, responses), stored.model_digest


@pytest.fixture(scope="module")
def results() -> list[RoundScores]:
    rounds = [reference_round(number) for number in range(4)]
    empty = ScoringContext.empty(384)
    return [score(round_, empty, profile, digest) for round_, digest in rounds for profile in PROFILES]


def test_vectors_of_texts_are_those_of_one_at_a_time() -> None:
    prompt, answers = (
        "What is light? And what is dark?",
        [response(f"h{i}", text=f"Light {i} is a wave.") for i in range(9)],
    )
    stored = embed_round(HashingEmbedder(), ChallengeId("c"), prompt, answers)
    row = {key.text_sha256: i for i, key in enumerate(stored.keys)}
    found = unpack(stored, prompt, answers).text_vectors
    assert len(found) > 9
    for said, vector in found.items():
        alone = unit_vector(stored.vectors[row[text_sha256(said)]].astype(np.float64))
        assert vector.tobytes() == alone.tobytes()


@given(TEXTS)
def test_specificity_is_that_of_counting_everything(said: str) -> None:
    words = said.split()
    names = sum(word[0].isupper() for piece in re.split(r"[.!?]+", said) for word in piece.split()[1:])
    long = sum(len(word) > 8 for word in words) / len(words) if words else 0.0
    digit = 0.3 if any(char.isdigit() for char in said) else 0.0
    mark = 0.2 if ":" in said or ";" in said else 0.0
    plain = min(1.0, digit + min(0.3, 0.1 * names) + min(0.2, 2 * long) + mark) if words else 0.0
    assert text.specificity(said) == plain


@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_wording_is_that_of_weighing_every_word_anew(texts: Sequence[str], grown: bool) -> None:
    context = ScoringContext.of(30 if grown else 0, {"the": 30, "no:": 2}, None)
    weight = word_weight(context, RobustProfile())
    bags = [said.split() for said in texts]
    rows = [{word: (1 + math.log(tf)) * weight(word) for word, tf in Counter(bag).items()} for bag in bags]
    asked: list[str] = []
    found = wording_similarity(bags, lambda word: (asked.append(word), weight(word))[1])
    assert len(asked) == len({word for row in rows for word in row})
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            if i != j:
                dot = math.fsum(value * other[word] for word, value in one.items() if word in other)
                size = math.sqrt(math.fsum(v * v for v in one.values()) * math.fsum(v * v for v in other.values()))
                assert found[i, j] == pytest.approx(min(1.0, dot / size) if size else 0.0, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.02, 1e200])
def test_what_is_no_unit_row_is_found(bad: float) -> None:
    assert _is_unit(np.array([1.0, 0.0]))
    assert not _is_unit(np.array([bad, 0.0]))


def test_sentences_are_remembered_and_never_shared() -> None:
    first = text.sentences("One is enough here. Two is enough here.")
    first.clear()
    assert text.sentences("One is enough here. Two is enough here.") == ["One is enough here.", "Two is enough here."]


def test_scikit_learn_says_the_same_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(3).normal(size=(9, 384))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    profile = NetworkProfile()
    quick = consensus.local_outliers(rows, profile), consensus.cluster_labels(rows @ rows.T, profile)
    monkeypatch.setattr(consensus, "taken_as_given", nullcontext)
    plain = consensus.local_outliers(rows, profile), consensus.cluster_labels(rows @ rows.T, profile)
    assert all((one == other).all() for one, other in zip(quick, plain, strict=True))


def plain_scores(result: RoundScores) -> pl.DataFrame:
    about = {name: getattr(result, name) for name in ROUND} | {"received_at": NOON, "inputs_digest": None}
    about |= asdict(result.measure) if result.measure else {}
    rows = []
    for each in result.scores:
        row = {field.name: getattr(each, field.name) for field in fields(Score)}
        measure = row.pop("measure")
        rows.append(about | row | (asdict(measure) if measure else {}))
    return pl.DataFrame(rows, schema=SCORES)


def plain_pairs(result: RoundScores) -> pl.DataFrame:
    about = {"challenge_id": result.challenge_id, "scorer_version": result.scorer_version, "received_at": NOON}
    rows = [about | {f.name: getattr(each, f.name) for f in fields(PairEvidence)} for each in result.pairs]
    return pl.DataFrame(rows, schema=PAIRS)


def test_tables_are_those_of_a_row_at_a_time_and_of_a_round_at_a_time(results: list[RoundScores]) -> None:
    for result in results:
        assert scores_frame(result, NOON).equals(plain_scores(result), null_equal=True)
        assert pairs_frame(result, NOON).equals(plain_pairs(result), null_equal=True)
    many = [Scored(result, NOON, "ab" * 32) for result in results]
    assert scores_frames(many).equals(pl.concat(scores_frame(*each) for each in many))
    assert pairs_frames(many).equals(pl.concat(pairs_frame(each.result, each.received_at) for each in many))
    assert (scores_frames(many).schema, pairs_frames(many).schema) == (pl.Schema(SCORES), pl.Schema(PAIRS))
    assert (scores_frames([]).schema, pairs_frames([]).schema) == (pl.Schema(SCORES), pl.Schema(PAIRS))

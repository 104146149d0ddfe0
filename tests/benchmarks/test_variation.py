"""Copies of a round are as distinct as rounds are: together they take as much, and each still is a round."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from random import Random

import numpy as np
import polars as pl
import pytest

from benchmarks.variation import Varying
from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.store.parts import PartWriter, Whole

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MINERS = 7
AXES = 384
ROUNDS, COPIED = 60, 3
NUMBERS = re.compile(r"\d+")


def answers(number: int) -> pl.DataFrame:
    """The answers of a round as miners of the devnet give them."""
    draw, prompts = Random(number), AnswerBook.load().prompts
    texts = [essay(prompts[number % len(prompts)], draw) for _ in range(MINERS)]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    waits = [draw.lognormvariate(8.0, 0.4) for _ in range(MINERS)]
    return pl.DataFrame({"text": texts, "sha256": digests, "elapsed_ms": waits, "gate": [0.3] * MINERS})


def vectors(number: int) -> pl.DataFrame:
    found = np.random.default_rng(number).normal(size=(100, AXES))
    halves = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)
    digests = [hashlib.sha256(half.tobytes()).hexdigest() for half in halves]
    return pl.DataFrame({"text_sha256": digests, "vector": [half.tobytes() for half in halves]})


def narratives(number: int) -> pl.DataFrame:
    said = f"7 miners asked, 7 answered.\n\nUid 3 was paid **{Random(number).random():.2f}**."
    return pl.DataFrame({"text": [said], "composed": [said]})


MADE = {"miner_responses": answers, "embeddings": vectors}


def size_of(frames: list[pl.DataFrame]) -> int:
    """Bytes that tables take in one part."""
    writer = PartWriter(frames[0].schema)
    for number, frame in enumerate(frames):
        writer.add(Whole(f"c-{number:06d}.parquet", frame, 9000, hashlib.sha256(bytes([number])).hexdigest()))
    return len(writer.finish(NOW))


def copies(asset: str, count: int) -> list[pl.DataFrame]:
    varying = Varying.all(asset, [MADE[asset](number) for number in range(COPIED)])
    return [varying[number % COPIED].copy(number) for number in range(count)]


@pytest.mark.parametrize("asset", MADE)
def test_a_part_of_copies_is_as_large_as_one_of_distinct_rounds(asset: str) -> None:
    distinct = [MADE[asset](number) for number in range(ROUNDS)]
    repeated = [distinct[number % COPIED] for number in range(ROUNDS)]
    made = size_of(copies(asset, ROUNDS))
    assert 0.85 * size_of(distinct) < made < 1.4 * size_of(distinct)
    assert made > 1.5 * size_of(repeated)


@pytest.mark.parametrize("asset", MADE)
def test_more_copies_take_no_less_each(asset: str) -> None:
    few, many = size_of(copies(asset, ROUNDS)), size_of(copies(asset, 4 * ROUNDS))
    assert many > 0.9 * 4 * few


def test_answers_have_other_words_of_the_same_length() -> None:
    was = answers(0)
    varying = Varying.all("miner_responses", [was, answers(1)])[0]
    copy, other = varying.copy(1), varying.copy(2)
    assert copy.equals(varying.copy(1))
    assert copy.schema == was.schema
    for old, new, third in zip(was["text"], copy["text"], other["text"], strict=True):
        assert [len(word) for word in old.split()] == [len(word) for word in new.split()]
        assert len({old, new, third}) == 3
    assert copy["sha256"].str.len_chars().to_list() == [64] * MINERS
    assert not set(copy["sha256"]) & (set(was["sha256"]) | set(other["sha256"]))


def test_figures_are_others_but_those_that_rounds_share() -> None:
    was = answers(0)
    copy = Varying.all("miner_responses", [was, answers(1)])[0].copy(1)
    share = copy["elapsed_ms"] / was["elapsed_ms"]
    assert share.is_between(0.9, 1.0).all()
    assert share.n_unique() == MINERS
    assert copy["gate"].to_list() == [0.3] * MINERS


def test_missing_figures_stay_missing_and_equal_ones_equal() -> None:
    frames = [pl.DataFrame({"score": [number + 0.25, None, number + 0.25, number + 0.5]}) for number in range(2)]
    first, second, third, fourth = Varying.all("consensus_scores", frames)[1].copy(3)["score"]
    assert second is None
    assert first == third != fourth


def test_angles_between_vectors_are_as_they_were() -> None:
    was, copy = vectors(0), Varying.all("embeddings", [vectors(0)])[0].copy(1)
    old, new = (np.frombuffer(b"".join(each["vector"]), np.float16).reshape(-1, AXES) for each in (was, copy))
    assert not np.array_equal(old, new)
    np.testing.assert_allclose(old.astype(float) @ old.T.astype(float), new.astype(float) @ new.T.astype(float))


def test_narratives_say_other_figures_in_the_same_words() -> None:
    was = narratives(0)
    copy = Varying.all("narratives", [was])[0].copy(1)
    old, new = was["text"][0], copy["text"][0]
    assert old != new == copy["composed"][0]
    assert NUMBERS.sub("", old) == NUMBERS.sub("", new)

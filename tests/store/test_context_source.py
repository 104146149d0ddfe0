"""The context of stored rounds is that of their texts and vectors, newest days first, of one embedding model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from loosh_pipeline.domain import ChallengeId, Outcome, Response
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round
from loosh_pipeline.scoring.vectors import mean_direction
from loosh_pipeline.store.context_source import recent_context
from loosh_pipeline.store.frames import responses_frame
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.vector_frames import to_frame
from tests.builders import NOON, response

PROMPT = "Why is the sky blue?"
DAY = timedelta(days=1)
LATER = NOON + 40 * DAY


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


def store_round(
    tables: Tables, name: str, answers: Mapping[str, str | Outcome], at: datetime = NOON, dim: int = 16
) -> None:
    responses = [_response(hotkey, answer) for hotkey, answer in answers.items()]
    key = TableKey.of(name, at)
    tables.write("miner_responses", key, responses_frame(responses, asked_at=at, metagraph_block=1))
    vectors = embed_round(HashingEmbedder(dim), ChallengeId(name), PROMPT, responses)
    tables.write("embeddings", key, to_frame(vectors))


def _response(hotkey: str, answer: str | Outcome) -> Response:
    if isinstance(answer, Outcome):
        return response(hotkey, outcome=answer, text="words that came with a failure", elapsed_ms=None)
    return response(hotkey, text=answer)


def test_before_anything_is_embedded_there_is_none(tables: Tables) -> None:
    assert recent_context(tables, LATER, 10) is None


def test_words_are_counted_by_round_and_the_background_is_the_mean_of_the_rounds(tables: Tables) -> None:
    said = [
        {"a": "Air scatters blue light.", "b": "Air, only air!", "c": Outcome.TIMEOUT},
        {"a": "Blue air above.", "b": "Nothing of the kind.", "c": Outcome.TIMEOUT},
    ]
    for number, answers in enumerate(said):
        store_round(tables, f"c-{number}", answers)
    found = recent_context(tables, LATER, 10)
    assert found is not None
    context, digest = found
    assert digest == HashingEmbedder(16).digest
    assert context.rounds == 2
    assert dict(context.document_frequency) == {"air": 2, "blue": 2}

    embed = HashingEmbedder(16).embed
    means = [
        np.mean([mean_direction(embed([text]).astype("<f2").astype(float)) for text in texts], axis=0)
        for texts in (["Air scatters blue light.", "Air, only air!"], ["Blue air above.", "Nothing of the kind."])
    ]
    assert context.background == pytest.approx(np.mean(means, axis=0), abs=1e-12)


def test_a_round_without_answers_counts_for_words_only(tables: Tables) -> None:
    store_round(tables, "c-0", {"a": Outcome.TIMEOUT})
    store_round(tables, "c-1", {"a": "Blue air above."})
    found = recent_context(tables, LATER, 10)
    assert found is not None
    assert (found[0].rounds, dict(found[0].document_frequency)) == (2, {})
    only_one = mean_direction(HashingEmbedder(16).embed(["Blue air above."]).astype("<f2").astype(float))
    assert found[0].background == pytest.approx(only_one, abs=1e-12)


def test_the_newest_rounds_are_taken_and_none_of_a_later_day(tables: Tables) -> None:
    for day in range(5):
        store_round(tables, f"c-{day}", {"a": f"always word{day} word{day - 1}"}, at=NOON + day * DAY)
    found = recent_context(tables, NOON + 3 * DAY, 2)
    assert found is not None
    assert (found[0].rounds, dict(found[0].document_frequency)) == (2, {"always": 2, "word2": 2})


def test_rounds_of_another_embedding_model_are_passed_over(tables: Tables) -> None:
    store_round(tables, "c-0", {"a": "old one"}, at=NOON, dim=16)
    store_round(tables, "c-1", {"a": "other model"}, at=NOON + DAY, dim=32)
    store_round(tables, "c-2", {"a": "old two"}, at=NOON + 2 * DAY, dim=16)
    found = recent_context(tables, LATER, 2)
    assert found is not None
    context, digest = found
    assert digest == HashingEmbedder(16).digest
    assert (context.rounds, dict(context.document_frequency)) == (2, {"old": 2})
    assert context.background is not None
    assert context.background.shape == (16,)


def test_the_same_rounds_give_the_same_digest(tables: Tables) -> None:
    for number in range(4):
        store_round(tables, f"c-{number}", {"a": f"blue word{number}", "b": "the sky"})
    first, again = recent_context(tables, LATER, 10), recent_context(tables, LATER, 10)
    assert first is not None
    assert again is not None
    assert first[0].digest == again[0].digest

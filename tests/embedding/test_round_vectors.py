from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import ChallengeId, Outcome, Response
from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.round_vectors import RoundVectors, embed_round, text_sha256, texts_of, unpack
from loosh_pipeline.embedding.server import Limits
from loosh_pipeline.errors import EmbedderError, ScoringError
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.store.vector_frames import SCHEMA, from_frame, to_frame
from tests import builders

ID = ChallengeId("c-1")
PROMPT = "Why is the sky blue?"
SKY = "Air scatters blue light. That is why the sky is blue."


def asked() -> list[Response]:
    return [
        builders.response("hk-b", text=SKY),
        builders.response("hk-c", outcome=Outcome.TIMEOUT, text="", elapsed_ms=None),
        builders.response("hk-a", text="Short waves are scattered most by the air above us."),
        builders.response("hk-d", text=SKY),
        builders.response("hk-e", text=" … "),
    ]


def embedded(responses: list[Response] | None = None) -> RoundVectors:
    return embed_round(HashingEmbedder(32), ID, PROMPT, responses or asked())


def test_texts_are_the_prompt_then_windows_and_sentences_of_answers_by_hotkey_then_what_is_left() -> None:
    rows = texts_of(PROMPT, asked())
    assert [(row.hotkey, row.kind, row.position) for row in rows] == [
        ("", "prompt", 0),
        ("hk-a", "chunk", 0),
        ("hk-a", "sentence", 0),
        ("hk-b", "chunk", 0),
        ("hk-b", "sentence", 0),
        ("hk-b", "sentence", 1),
        ("hk-d", "chunk", 0),
        ("hk-d", "sentence", 0),
        ("hk-d", "sentence", 1),
        ("", "text", 0),
    ]
    assert rows[-1].text == " … ", "an empty reply, which the network's method reads"
    assert rows[0].text == PROMPT
    assert rows[4].text == "Air scatters blue light."


def test_a_round_with_an_answer_longer_than_a_server_takes_is_embedded(hashing_url: str) -> None:
    long = "word " * (Limits().chars // 5 + 1)
    responses = [builders.response("hk-a", text=long), builders.response("hk-b", text=SKY)]
    with HttpEmbedder(hashing_url, timeout_s=10) as remote:
        with pytest.raises(EmbedderError, match="answered 413"):
            remote.embed([long])
        vectors = embed_round(remote, ID, PROMPT, responses)
    assert text_sha256(long) in {key.text_sha256 for key in vectors.keys}
    read = unpack(vectors, PROMPT, responses).text_vectors
    assert set(read) == set(texts_to_embed(PROMPT, [long, SKY]))
    assert read[long] == pytest.approx(HashingEmbedder().embed(["word"])[0], abs=1e-3)


def test_what_the_network_reads_is_embedded_once_and_has_its_unit_row() -> None:
    prompt = "Why is the sky blue, and why is it red at dusk?"
    long = " ".join(f"word{i}" for i in range(200)) + ". A sentence of its own stands here."
    responses = [builders.response("hk-a", text=long), builders.response("hk-b", text=SKY)]
    rows = texts_of(prompt, responses)
    extra = [row.text for row in rows if row.kind == "text"]
    assert [row.hotkey for row in rows if row.kind == "text"] == [""] * len(extra)
    assert long in extra, "in windows it is many texts, the network embeds it as one"
    assert SKY not in extra, "a short answer is its own window"
    vectors = embed_round(HashingEmbedder(32), ID, prompt, responses)
    text_vectors = unpack(vectors, prompt, responses).text_vectors
    assert set(text_vectors) == set(texts_to_embed(prompt, [long, SKY]))
    assert [float(np.linalg.norm(row)) for row in text_vectors.values()] == pytest.approx([1.0] * len(text_vectors))


def test_a_prompt_without_words_is_embedded_as_it_is() -> None:
    assert [row.text for row in texts_of("?!", []) if row.kind == "prompt"] == ["?!"]


def test_a_round_is_embedded_in_one_pass_and_no_text_twice() -> None:
    embedder = HashingEmbedder(32)
    embed_round(embedder, ID, PROMPT, asked())
    assert len(embedder.calls) == 1
    (texts,) = embedder.calls
    assert len(texts) == len(set(texts)) == 6


def test_the_table_has_its_columns_and_the_bytes_of_float16() -> None:
    frame = to_frame(embedded())
    assert frame.schema == SCHEMA
    assert frame["text_sha256"][0] == hashlib.sha256(PROMPT.encode()).hexdigest()
    vector = np.frombuffer(frame["vector"][0], dtype="<f2")
    assert vector == pytest.approx(HashingEmbedder(32).embed([PROMPT])[0].astype(np.float16))
    assert frame["model_digest"].unique().to_list() == [HashingEmbedder(32).digest]


def test_a_round_read_back_scores_to_the_same_bytes_in_any_order_of_rows() -> None:
    vectors, responses = embedded(), asked()
    context, profile = ScoringContext.empty(32), RobustProfile()
    first = score_round(unpack(vectors, PROMPT, responses), context, profile)
    stored = to_frame(vectors).sample(fraction=1, shuffle=True, seed=1)
    again = score_round(unpack(from_frame(stored), PROMPT, responses), context, profile)
    assert again == first
    assert first.measure is not None


def test_the_round_keeps_the_order_asked_and_what_each_answered() -> None:
    round_ = unpack(embedded(), PROMPT, asked())
    assert [response.hotkey for response in round_.responses] == ["hk-b", "hk-c", "hk-a", "hk-d", "hk-e"]
    by_hotkey = {response.hotkey: response for response in round_.responses}
    assert by_hotkey["hk-b"].sentences.shape == (2, 32)
    assert by_hotkey["hk-c"].chunks.shape == (0, 32)
    assert by_hotkey["hk-b"].chunks.tobytes() == by_hotkey["hk-d"].chunks.tobytes()
    assert np.linalg.norm(round_.prompt_vector) == pytest.approx(1.0)


def test_an_answer_without_stored_vectors_is_unscored_not_lost() -> None:
    late = [*asked(), builders.response("hk-z", text="An answer that came after embedding.")]
    scores = score_round(unpack(embedded(), PROMPT, late), ScoringContext.empty(32), RobustProfile()).scores
    assert (scores[-1].hotkey, scores[-1].reason) == ("hk-z", "not_embedded")


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1), st.lists(st.text(), max_size=4))
def test_any_texts_survive_the_table(prompt: str, texts: list[str]) -> None:
    responses = [builders.response(f"hk-{i}", text=text) for i, text in enumerate(texts)]
    vectors = embed_round(HashingEmbedder(8), ID, prompt, responses)
    back = from_frame(to_frame(vectors))
    assert back.keys == vectors.keys
    assert back.vectors.tobytes() == vectors.vectors.tobytes()
    assert (back.challenge_id, back.model_digest) == (vectors.challenge_id, vectors.model_digest)


def test_rows_that_are_not_of_one_round_are_refused() -> None:
    frame = to_frame(embedded())
    other = frame.with_columns(challenge_id=pl.lit("c-2"))
    with pytest.raises(ScoringError, match=r"one challenge_id, these rows have 2: \['c-1', 'c-2'\]"):
        from_frame(pl.concat([frame, other]))
    with pytest.raises(ScoringError, match="one model_digest"):
        from_frame(pl.concat([frame, frame.with_columns(model_digest=pl.lit("other"))]))
    with pytest.raises(ScoringError, match="differ in width"):
        from_frame(
            pl.concat(
                [
                    frame,
                    to_frame(embed_round(HashingEmbedder(16), ID, PROMPT, [])).with_columns(
                        model_digest=pl.lit(HashingEmbedder(32).digest)
                    ),
                ]
            )
        )
    with pytest.raises(ScoringError, match="have 0"):
        from_frame(frame.clear())


def test_a_round_without_its_prompt_is_refused() -> None:
    frame = to_frame(embedded()).filter(pl.col("kind") != "prompt")
    with pytest.raises(ScoringError, match="no prompt vector is stored for challenge c-1"):
        unpack(from_frame(frame), PROMPT, asked())


def test_a_hotkey_asked_twice_is_refused() -> None:
    with pytest.raises(ScoringError, match="hk-b asked more than once"):
        unpack(embedded(), PROMPT, [*asked(), builders.response("hk-b")])

"""Scoring contexts are append-only, and a challenge is given the one that was there when it came."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.errors import StoreError
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.store.score_frames import context_frame, context_of
from loosh_pipeline.store.score_tables import CONTEXTS, ScoreTables
from loosh_pipeline.store.tables import Tables
from tests.builders import NOON

MODEL = "ab" * 32
OTHER_MODEL = "cd" * 32
MINUTE = timedelta(minutes=1)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


@pytest.fixture
def stored(tables: Tables) -> ScoreTables:
    return ScoreTables(tables)


CONTEXT = ScoringContext.of(30, {"air": 30, "blue": 7, "é \U0001f308": 2}, np.array([0.1, -1 / 3, 0.0]))


def context(rounds: int) -> ScoringContext:
    return ScoringContext.of(rounds, {"air": 2}, np.full(3, 0.25))


@pytest.mark.parametrize("given_context", [CONTEXT, ScoringContext.empty(3), ScoringContext.of(2, {"a": 2}, None)])
def test_a_context_comes_back_exactly(tables: Tables, stored: ScoreTables, given_context: ScoringContext) -> None:
    stored.write_context(given_context, MODEL, NOON, "run-1")
    back = stored.context_at(NOON + MINUTE, MODEL, 3)
    assert (back.rounds, dict(back.document_frequency)) == (
        given_context.rounds,
        dict(given_context.document_frequency),
    )
    assert (back.background is None) == (given_context.background is None)
    if back.background is not None and given_context.background is not None:
        assert back.background.tobytes() == given_context.background.tobytes()
    assert back.digest == given_context.digest
    newest = stored.newest_context()
    assert newest is not None
    assert newest.select("rounds", "model_digest", "built_at").rows() == [(given_context.rounds, MODEL, NOON)]


@given(
    st.integers(0, 10**6),
    st.dictionaries(st.text(max_size=8), st.integers(2, 10**6), max_size=6),
    st.lists(st.floats(-1, 1), min_size=1, max_size=6),
)
def test_any_context_keeps_its_digest(rounds: int, frequency: dict[str, int], background: list[float]) -> None:
    made = ScoringContext.of(rounds, frequency, np.array(background))
    back = context_of(context_frame(made, MODEL, NOON))
    assert back.digest == made.digest
    assert dict(back.document_frequency) == frequency


def test_a_context_that_is_not_what_its_digest_says_is_refused() -> None:
    with pytest.raises(StoreError, match="a scoring context says its digest is"):
        context_of(context_frame(CONTEXT, MODEL, NOON).with_columns(rounds=pl.lit(31, pl.Int64)))


def test_contexts_are_never_overwritten(tables: Tables, stored: ScoreTables) -> None:
    for run in ("run-1111", "run-2222"):
        stored.write_context(CONTEXT, MODEL, NOON, run)
    assert len(list(tables.newest_first(CONTEXTS))) == 2


def test_a_challenge_is_given_the_newest_context_that_was_there_when_it_came(stored: ScoreTables) -> None:
    for rounds, age in ((20, timedelta(days=2)), (40, timedelta(hours=1)), (80, -timedelta(hours=1))):
        stored.write_context(context(rounds), MODEL, NOON - age, "run-1")
    at = {
        -timedelta(days=3): 0,
        -timedelta(days=2): 0,
        -timedelta(days=2) + MINUTE: 20,
        timedelta(0): 40,
        timedelta(hours=1): 40,
        timedelta(hours=1, microseconds=1): 80,
        timedelta(days=9): 80,
    }
    assert {age: stored.context_at(NOON + age, MODEL, 3).rounds for age in at} == at


def test_a_later_context_changes_nothing_for_an_earlier_challenge(stored: ScoreTables) -> None:
    stored.write_context(context(20), MODEL, NOON - MINUTE, "run-1")
    before = stored.context_at(NOON, MODEL, 3).digest
    stored.write_context(context(40), MODEL, NOON, "run-2")
    assert stored.context_at(NOON, MODEL, 3).digest == before


def test_the_context_of_another_embedding_model_is_never_given(stored: ScoreTables) -> None:
    stored.write_context(context(20), MODEL, NOON - timedelta(days=5), "run-1")
    stored.write_context(context(40), OTHER_MODEL, NOON - MINUTE, "run-2")
    assert stored.context_at(NOON, MODEL, 3).rounds == 20
    assert stored.context_at(NOON, OTHER_MODEL, 3).rounds == 40
    none = stored.context_at(NOON, "ef" * 32, 5)
    assert none.rounds == 0
    assert none.background is not None
    assert none.background.shape == (5,)

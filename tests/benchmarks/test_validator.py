"""What is said of those who were asked."""

from __future__ import annotations

import polars as pl

from benchmarks.validator import answers_of
from loosh_pipeline.domain import Outcome
from loosh_pipeline.store.frames import responses_frame
from tests import builders


def test_who_answered_how_long_and_with_whom_a_handshake_came_first() -> None:
    answered = [builders.response(text="one two three", handshake_ms=4.0), builders.response(text="one", hotkey="m2")]
    silent = builders.response(outcome=Outcome.TIMEOUT, text="", hotkey="m3", handshake_ms=6.0)
    frame = responses_frame([*answered, silent], asked_at=builders.NOON, metagraph_block=1)
    assert answers_of(frame) == {
        "asked": 3,
        "answered": 2,
        "words_mean": 2.0,
        "handshakes": 2,
        "handshake_p50_ms": 5.0,
    }
    assert answers_of(frame.filter(pl.col("outcome") == Outcome.EMPTY))["words_mean"] == 0.0

"""The benchmark of the embedder on a real process, for a moment: that it counts, not how fast it is."""

from __future__ import annotations

import pytest

from benchmarks.embedding import AT_ONCE, made_challenges, measure


def test_challenges_are_the_same_every_time_and_no_two_alike() -> None:
    made = made_challenges(2)
    assert made == made_challenges(2)
    assert not set(made[0]) & set(made[1])


@pytest.mark.e2e
@pytest.mark.slow
def test_every_way_is_measured_and_gives_the_same_bytes() -> None:
    figures = measure(count=1, rounds=1, threads=1)
    assert figures["f16_bytes_differ"] == 0
    for way in ("alone", *(f"at_once_{n}" for n in AT_ONCE)):
        assert figures[f"{way}_texts_per_s"] > 0
        assert figures[f"{way}_tokens_per_s"] > figures[f"{way}_texts_per_s"]

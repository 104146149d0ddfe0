"""Rounds in columns: the same bits as one by one, whatever is beside a round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.scoring import votes as votes_module
from loosh_pipeline.scoring.columns import columns_of, groups_of, signals_of
from loosh_pipeline.scoring.pairs import PairEvidence, pair_histories
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.votes import Standing, Verdict, judge, judge_rounds
from loosh_pipeline.scoring.window import SettledScore, settle
from tests.builders import pair, round_scores, score
from tests.scoring import plainly
from tests.scoring.rounds import examples

PROFILE = RobustProfile()


@st.composite
def windows(draw: st.DrawFn, max_miners: int = 24) -> list[RoundScores]:
    """Rounds of any size of the same miners, some of whom fail, oppose all others, copy, or have no known time."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    miners, count = draw(st.integers(1, max_miners)), draw(st.integers(0, 8))
    about = {"opposed": draw(st.sampled_from([0.0, 0.5, 0.8])), "copied": draw(st.sampled_from([0.0, 0.1, 0.7]))}
    return [drawn(rng, f"c-{k}", int(rng.integers(1, miners + 1)), miners, **about) for k in range(count)]


def drawn(
    rng: np.random.Generator, name: str, size: int, miners: int, opposed: float = 0.0, copied: float = 0.1
) -> RoundScores:
    scores = [_score(rng, f"hotkey-{miner:03}") for miner in rng.choice(miners, size, replace=False)]
    compared = sorted(each.hotkey for each in scores if each.relevance is not None)
    pairs = [_pair(rng, first, second, opposed, copied) for first, second in combinations(compared, 2)]
    return round_scores(tuple(scores), challenge_id=ChallengeId(name), pairs=tuple(pairs))


def _score(rng: np.random.Generator, hotkey: str) -> Any:
    if rng.random() < 0.1:
        return score(hotkey, 0.0, outcome=Outcome.TIMEOUT)
    return score(
        hotkey,
        0.0,
        relevance=float(rng.uniform(-0.1, 1.0)),
        words=int(rng.integers(0, 200)),
        elapsed_ms=None if rng.random() < 0.1 else float(rng.uniform(0, 9000)),
        baseline=float(rng.normal(0, 0.2)),
    )


def _pair(rng: np.random.Generator, first: str, second: str, opposed: float, copied: float) -> PairEvidence:
    wording = rng.uniform(0.9, 1.0) if rng.random() < copied else rng.uniform(0.0, 0.8)
    return pair(
        first,
        second,
        similarity=float(rng.uniform(-1, 1)),
        meaning=float(rng.normal(0.5 - opposed, 0.3)),
        coverage=float(rng.uniform()),
        coverage_back=float(rng.uniform()),
        wording=float(wording),
        evidence=float(min(1.0, rng.uniform(0, 1.5))),
    )


def settled_plainly(rounds: Sequence[RoundScores]) -> list[SettledScore]:
    names = sorted(each.challenge_id for each in rounds)
    return [
        SettledScore(
            challenge_id=name,
            hotkey=hotkey,
            relevance_gate=float(standing.gate[i]),
            trust=float(standing.trust[i]),
            votes=float(said.heard[i]),
            vote_weight=float(said.weight[i]),
            agreement=float(said.agreement[i]),
            share=float(said.share[i]),
            sources=tuple(h for j, h in enumerate(answers.hotkeys) if j != i and said.copies[i, j] >= 0.5),
            score=float(said.score[i]),
            payout=float(said.payout[i]),
        )
        for name, (answers, standing, said) in zip(names, plainly.settled(rounds, PROFILE), strict=True)
        for i, hotkey in enumerate(answers.hotkeys)
    ]


@examples(80)
@given(windows())
def test_a_window_settles_to_the_bits_of_one_round_after_the_other(rounds: list[RoundScores]) -> None:
    assert repr(list(settle(rounds, PROFILE).scores)) == repr(settled_plainly(rounds))


def test_rounds_of_hundreds_do_too() -> None:
    rng = np.random.default_rng(7)
    rounds = [drawn(rng, f"c-{k}", size, 256) for k, size in enumerate((140, 130, 140, 9))]
    assert repr(list(settle(rounds, PROFILE).scores)) == repr(settled_plainly(rounds))


@examples(40)
@given(windows(max_miners=12), st.sampled_from([1, 50, 2**15]))
def test_a_verdict_is_the_same_to_the_bit_alone_and_among_others(rounds: list[RoundScores], at_once: int) -> None:
    columns = columns_of(rounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(votes_module, "AT_ONCE", at_once)
        for group in groups_of(columns):
            count, n = group.rows.shape
            unknown = Standing(
                np.zeros((count, n, n)), np.ones((count, n)), np.full((count, n), PROFILE.relevance_gate)
            )
            together = judge_rounds(group.batch(columns), PROFILE, unknown)
            for k, challenge in enumerate(columns.round[group.rows[:, 0]] if n else ()):
                assert same(together.one(k), judge(signals_of(rounds[challenge]), PROFILE))


def same(one: Verdict, other: Verdict) -> bool:
    names = [each.name for each in fields(Verdict) if each.name != "vote"]
    votes = ((getattr(one.vote, each.name), getattr(other.vote, each.name)) for each in fields(one.vote))
    values = ((getattr(one, name), getattr(other, name)) for name in names)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in (*votes, *values))


def test_sums_over_thousands_of_rounds_are_those_of_one_pair_alone() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(size=(9000, 3))
    pairs = [
        pair("a", other, wording=w, evidence=e, similarity=s) for w, e, s in values.tolist() for other in ("b", "c")
    ]
    found = pair_histories([*pairs, *(pair("b", "c") for _ in range(129))], PROFILE)
    evidence = np.sort(values[:, 1]).sum()
    weighted = np.sort(values[:, 1] * values[:, 0]).sum()
    assert [found["a", other].evidence for other in "bc"] == [evidence] * 2
    assert [found["a", other].wording for other in "bc"] == [weighted / evidence] * 2
    assert found["b", "c"].rounds == 129


def test_signals_come_back_from_rows() -> None:
    found = signals_of(
        round_scores((score("b"), score("c", outcome=Outcome.TIMEOUT), score("a")), pairs=(pair("a", "b"),))
    )
    assert found.hotkeys == ("a", "b")
    assert found.coverage.tolist() == [[1.0, 0.5], [0.5, 1.0]]
    assert found.similarity.tolist() == [[1.0, 0.6], [0.6, 1.0]]
    assert signals_of(round_scores(())).wording.shape == (0, 0)
    unknown = signals_of(round_scores((replace(score("a"), elapsed_ms=None),)))
    assert math.isnan(unknown.elapsed_ms[0])


AB, BA = pair("a", "b"), pair("b", "a")
OTHER_PAIRS = "challenge c-1 has other pairs than its compared answers, each two once; score it again"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": (score("a"), score("b"), score("a"))}, "challenge c-1 has a miner twice"),
        ({"scores": (score("a"), score("b"), *[score("c", outcome=Outcome.EMPTY)] * 2)}, "has a miner twice"),
        ({"pairs": (AB, AB)}, OTHER_PAIRS),
        ({"pairs": (AB, BA)}, OTHER_PAIRS),
        ({"pairs": (BA,)}, OTHER_PAIRS),
        ({"pairs": ()}, OTHER_PAIRS),
        ({"pairs": (AB, pair("a", "stranger"))}, OTHER_PAIRS),
        ({"pairs": (pair("stranger", "b"),)}, OTHER_PAIRS),
        ({"pairs": (pair("a", "a"),)}, OTHER_PAIRS),
        ({"scores": (score("a"), score("b"), score("c")), "pairs": (AB, AB, pair("a", "c"))}, OTHER_PAIRS),
        ({"scores": (score("a"), score("b", outcome=Outcome.TIMEOUT))}, OTHER_PAIRS),
        ({"scores": (score("a", outcome=Outcome.EMPTY), score("b", outcome=Outcome.EMPTY))}, OTHER_PAIRS),
    ],
)
def test_rows_that_are_no_round_are_refused(changed: dict[str, Any], message: str) -> None:
    right = round_scores((score("a"), score("b")), pairs=(AB,))
    other = replace(right, challenge_id=ChallengeId("c-0"))
    assert len(settle([other, right], PROFILE).scores) == 4
    with pytest.raises(ValueError, match=message):
        settle([other, replace(right, **changed)], PROFILE)


@examples(40)
@given(windows(), st.sets(st.integers(0, 7)))
def test_a_window_without_some_rounds_is_that_of_the_others(rounds: list[RoundScores], gone: set[int]) -> None:
    gone = {place for place in gone if place < len(rounds)}
    rows, found = columns_of(rounds).without(np.array(sorted(gone), dtype=np.int64))
    expected = columns_of([each for place, each in enumerate(rounds) if place not in gone])
    assert (found.challenges, found.hotkeys) == (expected.challenges, expected.hotkeys)
    assert len(rows) == len(expected.miner)
    for name in ("round", "miner", "compared", "words", "elapsed_ms", "relevance", "baseline"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    for column in fields(found.pairs):
        np.testing.assert_array_equal(getattr(found.pairs, column.name), getattr(expected.pairs, column.name))

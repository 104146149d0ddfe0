"""What one round says of two answers, and many of two identities."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.pairs import PairEvidence, PairHistory, pair_evidence, pair_histories, same_source
from loosh_pipeline.scoring.votes import evidence_of
from tests.scoring.rounds import PLAIN, signals

A, B, C = Hotkey("a"), Hotkey("b"), Hotkey("c")


def met(
    first: Hotkey = A, second: Hotkey = B, wording: float = 0.5, evidence: float = 1.0, **fields: Any
) -> PairEvidence:
    values = {"similarity": 0.8, "meaning": 0.6, "coverage": 0.5, "coverage_back": 0.4} | fields
    return PairEvidence(first, second, wording=wording, evidence=evidence, **values)


def history(*rounds: PairEvidence) -> PairHistory:
    (found,) = pair_histories(rounds, PLAIN).values()
    return found


def test_the_shorter_answer_is_the_evidence() -> None:
    evidence = evidence_of(np.array([10.0, 25.0, 200.0]), PLAIN)
    assert evidence == pytest.approx(np.array([[0.2, 0.2, 0.2], [0.2, 0.5, 0.5], [0.2, 0.5, 1.0]]))


def test_every_two_answers_are_a_pair_with_all_that_was_measured_of_them() -> None:
    coverage = np.array([[1.0, 0.1, 0.2], [0.3, 1.0, 0.4], [0.5, 0.6, 1.0]])
    measured = signals(3, words=[25, 50, 100], similarity=0.7, meaning=0.6, wording=0.3, coverage=coverage)
    found = pair_evidence(measured, PLAIN, {})
    assert found == [
        met(A, B, 0.3, 0.5, similarity=0.7, coverage=0.1, coverage_back=0.3),
        met(A, C, 0.3, 0.5, similarity=0.7, coverage=0.2, coverage_back=0.5),
        met(B, C, 0.3, 1.0, similarity=0.7, coverage=0.4, coverage_back=0.6),
    ]


def test_unknown_places_are_not_the_same_place() -> None:
    places = {A: ("1.1.1.1", ""), B: ("1.1.1.1", "cold")}
    found = pair_evidence(signals(3), PLAIN, places)
    assert [(p.first + p.second, p.same_address, p.same_coldkey) for p in found] == [
        ("ab", True, False),
        ("ac", False, False),
        ("bc", False, False),
    ]


def test_no_answers_make_no_pairs() -> None:
    assert pair_evidence(signals(0), PLAIN, {}) == pair_evidence(signals(1), PLAIN, {}) == []
    assert pair_histories([], PLAIN) == {}


def test_a_history_is_the_mean_by_evidence_drawn_towards_that_of_honest_pairs() -> None:
    found = history(met(wording=0.9), met(wording=0.3, evidence=0.5, similarity=0.5), met(wording=1.0, evidence=0.0))
    assert (found.rounds, found.evidence) == (3, 1.5)
    assert found.wording == pytest.approx((0.9 + 0.15) / 1.5)
    assert found.similarity == pytest.approx((0.8 + 0.25) / 1.5)
    assert found.mean_wording == pytest.approx((0.9 + 0.15 + 2 * 0.4) / 3.5)
    assert found.alike_rate == pytest.approx((1.0 + 5 * 0.02) / 6.5)
    assert found.degree == 0.0


@pytest.mark.parametrize(("rounds", "degree"), [(1, 0.0), (2, 0.5), (3, 0.9375), (4, 1.0)])
def test_exact_copies_are_one_source_after_four_rounds(rounds: int, degree: float) -> None:
    # (n + 5 · .02) / (n + 5), on the ramp from .20 to .40
    rate = (rounds + 0.1) / (rounds + 5)
    found = history(*[met(wording=1.0)] * rounds)
    assert found.alike_rate == pytest.approx(rate)
    assert found.degree == pytest.approx(degree, abs=0.01)


def test_likeness_counts_from_where_no_honest_pair_keeps_it_up() -> None:
    rates = [history(*[met(wording=wording)] * 1000).alike_rate for wording in (0.65, 0.70, 0.775, 0.85, 0.95)]
    assert rates == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0], abs=0.005)


def test_answers_too_short_to_prove_anything_leave_a_pair_independent() -> None:
    found = history(*[met(wording=1.0, evidence=0.0)] * 50)
    assert (found.wording, found.similarity, found.degree) == (None, None, 0.0)
    assert found.mean_wording == PLAIN.mean_prior_wording
    assert history(*[met(wording=1.0, evidence=0.02)] * 50).degree == 0.0
    assert found.alike_rate == PLAIN.pair_prior_alike


def test_one_shared_place_in_any_round_is_remembered() -> None:
    found = history(met(), met(same_address=True), met(same_coldkey=True))
    assert (found.same_address, found.same_coldkey) == (True, True)
    assert not history(met(), met()).same_address


def test_a_history_is_the_same_in_any_order_of_the_rounds() -> None:
    values = (0.1, 0.7000000000000001, 1 / 3, 0.999999)
    seen = [met(wording=w, evidence=e, similarity=w / 3) for w, e in zip(values, (1.0, 0.1, 0.3, 0.7), strict=True)]
    assert len({repr(history(*order)) for order in itertools.permutations(seen)}) == 1


def test_histories_are_by_pair_and_sorted() -> None:
    found = pair_histories([met(B, C, 1.0), met(A, C, 0.2), met(A, B, 0.4), met(B, C, 1.0)], PLAIN)
    assert list(found) == [(A, B), (A, C), (B, C)]
    assert [each.rounds for each in found.values()] == [1, 1, 2]


def test_degrees_are_of_pairs_that_met() -> None:
    histories = pair_histories([met(A, C, 1.0)] * 9, replace(PLAIN, pair_prior_rounds=0.5))
    assert same_source([A, B, C], histories).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert same_source([], histories).shape == (0, 0)

"""Two settings of weights beside one another, by hand-sized figures."""

from __future__ import annotations

import pytest

from loosh_pipeline.audit.weight_diff import Flag, flags_of, other_acts, weight_diff
from loosh_pipeline.domain import Hotkey, OneSource, RuleAct
from loosh_pipeline.policy.inputs import Earned

A, B, C, D = (Hotkey(name) for name in "abcd")


def test_figures_by_hand() -> None:
    found = weight_diff({A: 0.5, B: 0.25, C: 0.25}, {A: 0.375, B: 0.375, D: 0.25})
    assert (found.total_variation, found.vtrust) == (0.375, 0.625)
    assert [(each.hotkey, each.change) for each in found.moves] == [(C, -0.25), (D, 0.25), (A, -0.125), (B, 0.125)]
    # ranks of a, b, c, d are 4, 2.5, 2.5, 1 and 3.5, 3.5, 1, 2; less their mean: (1.5 · 1 + 1.5 · .5) / 4.5
    assert found.rank_correlation == pytest.approx(0.5)


def test_ties_share_a_rank_and_what_is_all_alike_has_no_correlation() -> None:
    assert weight_diff({A: 0.5, B: 0.5}, {A: 0.9, B: 0.1}).rank_correlation is None
    assert weight_diff({A: 0.4, B: 0.4, C: 0.2}, {A: 0.4, B: 0.4, C: 0.2}).rank_correlation == pytest.approx(1.0)


def test_what_goes_to_nobody_has_moved() -> None:
    refused, nothing = weight_diff({A: 1.0}, {}), weight_diff({}, {})
    assert (refused.total_variation, refused.vtrust) == (1.0, None)
    assert (nothing.total_variation, nothing.vtrust) == (0.0, None)


def test_who_is_newly_flagged_and_who_no_longer() -> None:
    one, other = Flag(A, "one_source", "…"), Flag(B, "sybil_penalty", "…")
    found = weight_diff({A: 1.0}, {A: 1.0}, [one], [Flag(A, "one_source", "otherwise said"), other])
    assert (found.newly_flagged, found.no_longer_flagged) == ((other,), ())
    assert weight_diff({A: 1.0}, {A: 1.0}, [one, other], []).no_longer_flagged == (one, other)


def test_copies_and_whom_suspicion_takes_from_are_flagged_and_nobody_for_a_cap() -> None:
    sources = (OneSource(A, B, 9, 0.8, False, False), OneSource(B, C, 9, 0.4, False, False))
    acts = [
        RuleAct("sybil_penalty", C, 0.2, 0.1, "suspected"),
        RuleAct("sybil_penalty", D, 0.2, 0.2, "spared: nothing speaks against it"),
        RuleAct("imported", Hotkey(""), 1.0, 0.0, "of all"),
        RuleAct("max_share", A, 0.4, 0.3, "30% is the most that one miner gets"),
    ]
    assert [(each.hotkey, each.by) for each in flags_of(Earned(sources=sources), acts)] == [
        (A, "one_source"),
        (B, "one_source"),
        (C, "sybil_penalty"),
    ]


def test_a_rule_that_leaves_the_same_part_acts_alike() -> None:
    before = [RuleAct("entity_cap", A, 0.4, 0.2, "…"), RuleAct("serving", B, 0.1, 0.0, "…")]
    scaled = [RuleAct("entity_cap", A, 0.2, 0.1, "…"), RuleAct("serving", B, 0.3, 0.0, "…")]
    assert other_acts(before, scaled) == ()
    harder = [RuleAct("entity_cap", A, 0.4, 0.1, "…"), RuleAct("minimum_weights", C, 0.0, 0.1, "…")]
    assert [(each.rule, each.hotkey, each.was, each.would) for each in other_acts(before, harder)] == [
        ("entity_cap", A, before[0], harder[0]),
        ("minimum_weights", C, None, harder[1]),
        ("serving", B, before[1], None),
    ]

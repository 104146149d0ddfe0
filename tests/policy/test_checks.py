"""What must hold before money moves: each check on its own case, and who may waive what."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.domain import Mode, Proposal
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.policy.checks import CHECKS, WAIVABLE, judged, total_variation, unmet, waivers
from loosh_pipeline.policy.propose import propose
from tests.builders import NOON, emission
from tests.policy.cases import earned, inputs, last, miner, same_source, subnet

UNHURRIED = settings(deadline=None, max_examples=80)

EARNINGS = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}


def case(shares: dict[str, float] | None = None, **fields: Any) -> tuple[Proposal, Any]:
    """A proposal and what is known when it is checked; its shares may be replaced."""
    made_of = inputs(fields.pop("earnings", EARNINGS), **fields)
    proposal = propose(made_of)
    return (proposal if shares is None else replace(proposal, shares=shares)), made_of


def seen(name: str, proposal: Proposal, made_of: Any) -> Any:
    return next(each for each in judged(proposal, made_of) if each.name == name)


BAD: list[tuple[str, Any, str]] = [
    ("finite", case({"a": math.nan, "b": 0.5}), "not finite: a"),
    ("no_negative", case({"a": 1.5, "b": -0.5}), "negative: b -0.5"),
    ("sums_to_one", case({"a": 0.5, "b": 0.4}), "shares sum to 0.9"),
    ("not_all_zero", case(earnings=dict.fromkeys("ab", 0.0)), "0 of 2 miners earned anything in 10 rounds"),
    ("not_all_zero", case(earnings={}), "nobody is left to be paid"),
    (
        "enough_miners",
        case(subnet=subnet(*(miner(n, i) for i, n in enumerate("abcdef", 1)), min_allowed_weights=5)),
        "4 weights, and the chain asks for 5",
    ),
    ("enough_miners", case({"a": 1.0, "b": 1e-7}, rules={"min_miners": 2}), "for 1 miners, of 2 at least"),
    (
        "flagged_share",
        case(earned=earned(EARNINGS, sources=(same_source("a", "b"),))),
        "2 of 4 miners (50%) are taken for copies or penalised, and WEIGHTS_MAX_FLAGGED_SHARE is 50%: a, b",
    ),
    (
        "flagged_share",
        case(scores={"a": 0.2, "b": 0.2}, rules={"sybil_evidence": False, "max_penalised_share": 1.0}),
        "2 of 4 miners (50%)",
    ),
    ("change", case(last=last(e=0.9, a=0.1)), "90% of the weight goes to others than 2.0 h ago"),
    (
        "one_scorer_version",
        case(earned=earned(EARNINGS, versions={"new": 3, "old": 7})),
        "7 rounds by old, 3 rounds by new: payouts of different scorers are not in one coin. Backfill consensus_scores",
    ),
    (
        "evidence_behind_each",
        case(earnings={"a": emission("a", emission=0.4, paid=0), "b": 0.3}),
        "a weight without a paid round: a",
    ),
    ("burn_registered", case(rules={"burn_hotkey": "owner", "burn_share": 0.1}), "owner is not registered on subnet"),
    ("recent", case(earned=earned(EARNINGS, at=NOON - timedelta(hours=2))), "the emissions of 2026-01-02 10:00 UTC"),
]


def test_a_sound_proposal_passes_all() -> None:
    proposal, made_of = case(last=last(a=0.5, b=0.5))
    assert unmet(proposal, made_of) == []
    assert [each.name for each in judged(proposal, made_of)] == list(CHECKS)
    assert all(each.passed for each in judged(proposal, made_of))


@pytest.mark.parametrize(("name", "bad", "reason"), BAD)
def test_s31_each_check_fails_on_its_own_case(name: str, bad: tuple[Proposal, Any], reason: str) -> None:
    found = seen(name, *bad)
    assert (found.passed, found.blocks) == (False, True)
    assert reason in found.reason
    assert any(line.startswith(f"{name}: ") for line in unmet(*bad))


def test_every_check_has_a_case_and_says_what_it_is() -> None:
    assert {name for name, _, _ in BAD} == set(CHECKS)
    assert all(check.__doc__ for check in CHECKS.values())
    assert set(WAIVABLE) < set(CHECKS)


WAIVED = [(name, bad) for name, bad, _ in BAD if name in WAIVABLE]


@pytest.mark.parametrize(("name", "bad"), WAIVED)
def test_an_operator_may_waive_a_check_for_one_run_on_record(name: str, bad: tuple[Proposal, Any]) -> None:
    _, made_of = bad
    waived = propose(replace(made_of, waived=(name,)))
    found = seen(name, waived, made_of)
    assert waived.overrides == (name,)
    assert (found.passed, found.blocks) == (False, False)
    assert found.reason.startswith("waived for this run: ")
    assert unmet(waived, made_of) == []


@pytest.mark.parametrize("mode", [Mode.DEGRADED, Mode.EMERGENCY])
@pytest.mark.parametrize(("name", "bad"), WAIVED)
def test_in_need_they_only_warn(mode: Mode, name: str, bad: tuple[Proposal, Any]) -> None:
    proposal, made_of = bad
    assert unmet(replace(proposal, mode=mode), made_of) == []


def test_what_is_not_of_judgement_cannot_be_waived() -> None:
    assert waivers(["one_scorer_version", "change", "change"]) == ("change", "one_scorer_version")
    with pytest.raises(ConfigError, match=r"finite cannot be waived; only change, flagged_share, one_scorer_version"):
        waivers(["change", "finite"])


def test_a_first_vector_has_nothing_to_be_compared_with() -> None:
    assert "no weights were set before" in seen("change", *case()).reason
    old = case(last=last(ago_h=25.0, e=1.0))
    assert seen("change", *old).passed
    assert "25 h old" in seen("change", *old).reason


def test_an_emergency_burns_nothing_rather_than_wait() -> None:
    proposal, made_of = case(rules={"burn_hotkey": "owner", "burn_share": 0.1}, blocks_since=4500)
    assert unmet(proposal, made_of) == []
    assert "left out for this emergency" in seen("burn_registered", proposal, made_of).reason


def test_weights_that_no_round_stands_behind_are_said_so() -> None:
    proposal, made_of = case(earnings={"a": 0.0}, blocks_since=4500, last=last(a=1.0))
    assert unmet(proposal, made_of) == []
    assert seen("evidence_behind_each", proposal, made_of).reason == (
        "the basis is last_vector: no round stands behind 1 weights"
    )


def test_a_proposal_is_judged_by_what_is_known_when_it_is_submitted() -> None:
    """It may have waited: by then its time has passed, or what is burnt has left."""
    proposal, made_of = case()
    later = replace(made_of, at=NOON + timedelta(hours=2))
    assert [line.partition(":")[0] for line in unmet(proposal, later)] == ["recent"]


def test_all_may_be_burnt() -> None:
    there = subnet(miner("a", 1), miner("owner", 2))
    proposal, made_of = case(
        earnings={"a": 1.0}, subnet=there, rules={"burn_hotkey": "owner", "burn_share": 1.0, "min_miners": 3}
    )
    assert proposal.shares == {"a": 0.0, "owner": 1.0}
    assert unmet(proposal, made_of) == []


def test_checks_that_are_set_to_one_are_off() -> None:
    rules = {"max_change": 1.0, "max_flagged_share": 1.0, "mixed_scorers": True}
    what = earned(EARNINGS, sources=(same_source("a", "b"), same_source("c", "d")), versions={"x": 1, "y": 1})
    proposal, made_of = case(earned=what, last=last(e=1.0), rules=rules)
    assert unmet(proposal, made_of) == []


SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0, 1.0))


@UNHURRIED
@given(SHARES, SHARES)
def test_change_is_a_distance(one: dict[str, float], other: dict[str, float]) -> None:
    assert total_variation(one, other) == total_variation(other, one)  # type: ignore[arg-type]
    assert total_variation(one, one) == 0  # type: ignore[arg-type]

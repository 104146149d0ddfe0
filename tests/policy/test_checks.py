"""What must hold before money moves: each check on its own case, and who may waive what."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Mode, Proposal
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.policy.checks import CHECKS, WAIVABLE, judged, total_variation, unmet, waivers
from loosh_pipeline.policy.propose import propose
from tests.builders import NOON, emission
from tests.policy.cases import OWN, SET_AT, earned, inputs, last, last_of, miner, same_source, subnet

UNHURRIED = settings(deadline=None, max_examples=80)

EARNINGS = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}


def case(shares: dict[str, float] | None = None, **fields: Any) -> tuple[Proposal, Any]:
    """A proposal and what is known when it is checked; its shares may be replaced."""
    made_of = inputs(fields.pop("earnings", EARNINGS), **fields)
    proposal = propose(made_of)
    return (proposal if shares is None else replace(proposal, shares=shares)), made_of


def limited(share: float, blocks_since: int = 100, extra: str = "") -> Any:
    """The subnet of those who earn, and others, whose chain lets one weight be no more than a share."""
    there = (miner(name, i) for i, name in enumerate([*EARNINGS, *extra], 1))
    return subnet(*there, blocks_since=blocks_since, max_weight_share=share)


def seen(name: str, proposal: Proposal, made_of: Any) -> Any:
    return next(each for each in judged(proposal, made_of) if each.name == name)


BAD: list[tuple[str, Any, str]] = [
    ("finite", case({"a": math.nan, "b": 0.5}), "not finite: a"),
    ("finite", case({"b": 0.5, "a": math.nan}), "not finite: a"),
    ("no_negative", case({"a": 1.5, "b": -0.5}), "negative: b -0.5"),
    ("sums_to_one", case({"a": 0.5, "b": 0.4}), "shares sum to 0.9"),
    (
        "within_chain_limit",
        case(rules={"burn_hotkey": "d", "burn_share": 0.9}, subnet=limited(0.5)),
        "the chain lets one weight be 50.0% of all: d 91.0%. Lower WEIGHTS_BURN_SHARE",
    ),
    (
        "within_chain_limit",
        case(subnet=limited(0.2)),
        "a 25.0%, b 25.0%, c 25.0%, d 25.0%. It takes 5 weights, and there are 4: more miners must earn",
    ),
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
        case(earned=earned(EARNINGS, sources=(same_source("a", "b"),)), rules={"max_flagged_share": 0.4}),
        "2 of 4 miners (50%) are taken for copies or penalised, and WEIGHTS_MAX_FLAGGED_SHARE is 40%: a, b",
    ),
    (
        "flagged_share",
        case(scores=dict.fromkeys("abc", 0.2), rules={"sybil_evidence": False, "max_penalised_share": 1.0}),
        "3 of 4 miners (75%)",
    ),
    ("change", case(last=last(d=0.9, c=0.1)), "80% of the weight goes to others than 2.0 h ago"),
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
    ("recent", case(earned=earned(EARNINGS, at=NOON + timedelta(hours=2))), "the emissions of 2026-01-02 14:00 UTC"),
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
    """In the need of the moment, not in that of when it was proposed: weights may have been set since."""
    proposal, made_of = bad
    assert unmet(replace(proposal, mode=mode), made_of) != []
    need = replace(made_of.subnet, block=SET_AT + {Mode.DEGRADED: 4000, Mode.EMERGENCY: 4500}[mode])
    assert unmet(proposal, replace(made_of, subnet=need)) == []


def test_what_is_not_of_judgement_cannot_be_waived() -> None:
    assert waivers(["one_scorer_version", "change", "change"]) == ("change", "one_scorer_version")
    with pytest.raises(ConfigError, match=r"finite cannot be waived; only change, flagged_share, one_scorer_version"):
        waivers(["change", "finite"])


def test_a_first_vector_has_nothing_to_be_compared_with() -> None:
    assert "no weights were set before" in seen("change", *case()).reason
    old = case(last=last(ago_h=25.0, d=1.0))
    assert seen("change", *old).passed
    assert "25 h old" in seen("change", *old).reason


def test_last_weights_of_too_few_rounds_or_of_none_are_nothing_to_be_compared_with() -> None:
    """The first vector knows few miners; held to it, all later ones would be blocked for half a day."""
    few, enough, none = (
        case(last=last_of({"d": 1.0}, rounds=rounds, basis=basis))
        for rounds, basis in ((4, "lookback"), (5, "lookback"), (0, "last_vector"))
    )
    assert seen("change", *few).passed
    assert "rested on 4 rounds and these on 10" in seen("change", *few).reason
    assert not seen("change", *enough).passed
    assert "of the basis last_vector; no round of ours stood behind them" in seen("change", *none).reason


def test_who_leaves_changes_no_opinion_of_the_others() -> None:
    """The best miner with more than half of all is deregistered, or stops serving, or turns validator."""
    before = {name: share * 0.45 for name, share in EARNINGS.items()} | {"best": 0.55}
    left = case(last=last_of(before))
    assert seen("change", *left).passed
    assert seen("change", *left).reason == (
        "0% of the weight goes to others than 2.0 h ago, without the 55% of who may not be paid any more"
    )
    silent = subnet(*limited(1.0).neurons[1:], miner("best", 9, ip=None, port=0))
    assert seen("change", *case(earnings=EARNINGS | {"best": 1.0}, subnet=silent, last=last_of(before))).passed
    nobody = case(last=last_of({"best": 1.0}))
    assert "nobody whom the last weights were for may be paid" in seen("change", *nobody).reason


def test_what_was_burnt_counts_as_change_too() -> None:
    rules = {"burn_hotkey": "d", "burn_share": 0.9}
    unburnt = case(rules=rules, last=last_of(EARNINGS))
    assert not seen("change", *unburnt).passed
    burnt = case(rules=rules, last=last_of(unburnt[0].shares))
    assert seen("change", *burnt).reason.startswith("0% of the weight")


def test_limits_of_nothing_mean_what_they_say() -> None:
    """A share of 0 lets nobody be flagged, and nobody be penalised; it does not block what flags nobody."""
    rules = {"max_flagged_share": 0.0, "max_penalised_share": 0.0, "sybil_evidence": False}
    proposal, made_of = case(rules=rules, scores={"a": 1.0})
    assert proposal.shares["a"] == pytest.approx(0.4)
    assert seen("flagged_share", proposal, made_of).passed
    half = case(earned=earned(EARNINGS, sources=(same_source("a", "b"),)))
    assert seen("flagged_share", *half).passed, "as many as WEIGHTS_MAX_FLAGGED_SHARE says are allowed"


def test_nobody_paid_is_said_once() -> None:
    assert [line.partition(":")[0] for line in unmet(*case(earnings={"a": 0.0}))] == ["not_all_zero", "enough_miners"]


def test_in_an_emergency_the_burn_is_cut_to_what_the_chain_allows() -> None:
    there = limited(0.5, blocks_since=4500)
    proposal, made_of = case(rules={"burn_hotkey": "d", "burn_share": 0.9}, subnet=there)
    assert unmet(proposal, made_of) == []
    assert proposal.shares["d"] == pytest.approx(0.5)
    (act,) = (act for act in proposal.acts if act.rule == "burn")
    assert "cut to 44.4%: 50.0% is the most that the chain lets one have" in act.reason
    plan_weights(proposal.shares, there, OWN)


@pytest.mark.parametrize("burnt", [0.0, 0.9])
def test_in_an_emergency_miners_are_added_until_the_chains_limit_can_hold(burnt: float) -> None:
    """Three earn, and none may have more than a fifth: who answered once makes up the number."""
    earnings = {"a": 0.6, "b": 0.3, "c": 0.1}
    rules = {"burn_hotkey": "f", "burn_share": burnt} if burnt else {}
    there = limited(0.2, blocks_since=4500, extra="efg")
    proposal, made_of = case(
        earnings=earnings, subnet=there, known=frozenset("de"), rules=rules, last=last_of(earnings)
    )
    assert unmet(proposal, made_of) == []
    paid = {hotkey: share for hotkey, share in proposal.shares.items() if share}
    assert paid == pytest.approx(dict.fromkeys("abcdf" if burnt else "abcde", 0.2))
    assert "the chain lets one have 20.0% at most, so that it takes" in proposal.acts[0].reason
    plan_weights(proposal.shares, there, OWN)


def test_where_there_is_nobody_to_be_added_it_is_said_and_nothing_is_set() -> None:
    found = case(earnings={"a": 0.6, "b": 0.4}, subnet=limited(0.2, blocks_since=4500))
    assert [line.partition(":")[0] for line in unmet(*found)] == ["within_chain_limit"]
    assert "It takes 5 weights, and there are 2" in seen("within_chain_limit", *found).reason


def test_an_emergency_burns_nothing_rather_than_wait() -> None:
    proposal, made_of = case(rules={"burn_hotkey": "owner", "burn_share": 0.1}, blocks_since=4500)
    assert unmet(proposal, made_of) == []
    assert "left out for this emergency" in seen("burn_registered", proposal, made_of).reason


def test_weights_that_no_round_stands_behind_are_said_so() -> None:
    proposal, made_of = case(earnings={"a": 0.0}, blocks_since=4500, last=last(a=1.0))
    assert unmet(proposal, made_of) == []
    assert seen("evidence_behind_each", proposal, made_of).reason == (
        "the basis is last_vector: no round of ours stands behind 1 weights"
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
    proposal, made_of = case(earned=what, last=last(d=1.0), rules=rules)
    assert unmet(proposal, made_of) == []


SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0, 1.0))


@UNHURRIED
@given(SHARES, SHARES)
def test_change_is_a_distance(one: dict[str, float], other: dict[str, float]) -> None:
    assert total_variation(one, other) == total_variation(other, one)  # type: ignore[arg-type]
    assert total_variation(one, one) == 0  # type: ignore[arg-type]

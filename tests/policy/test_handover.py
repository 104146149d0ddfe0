"""The first hours after a switch: what an existing validator had found, until this one has found as much."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from loosh_pipeline.domain import Hotkey, Proposal
from loosh_pipeline.policy.checks import judged, unmet
from loosh_pipeline.policy.inputs import Imported
from loosh_pipeline.policy.propose import propose
from tests.builders import NOON, emission
from tests.policy.cases import OWN, acts, earned, inputs, last, last_of, miner, subnet

SHA256 = "d1" * 32
AVERAGES = {"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.0}


def rows(age_h: float = 1.0, averages: dict[str, float] | None = None) -> Imported:
    until = NOON - timedelta(hours=age_h)
    found = {Hotkey(hotkey): value for hotkey, value in (averages or AVERAGES).items()}
    return Imported(until - timedelta(hours=23), until, 4012, found, (SHA256,), read_at=NOON - timedelta(minutes=30))


def case(asked: dict[str, int] | None = None, **fields: Any) -> Any:
    """A subnet of a to d, of whom each was asked so often since the switch, and earned the same whenever it was."""
    own = {h: emission(h, asked=n, answered=n, paid=n, emission=0.25) for h, n in (asked or {}).items()}
    there = subnet(*(miner(name, i) for i, name in enumerate("abcd", 1)), blocks_since=fields.pop("blocks_since", 100))
    about: dict[str, Any] = {"imported": rows(), "subnet": there, "earned": earned(own) if own else earned({}, at=None)}
    return inputs({}, **(about | fields))


def paid(proposal: Proposal) -> dict[str, float]:
    return {hotkey: share for hotkey, share in proposal.shares.items() if share}


@pytest.mark.parametrize("profile", ["robust", "network"])
def test_before_any_round_weights_are_what_the_existing_validator_would_set(profile: str) -> None:
    made_of = case(profile=profile)
    proposal = propose(made_of)
    assert (proposal.basis, proposal.rounds) == ("imported", 4012)
    assert paid(proposal) == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})
    assert unmet(proposal, made_of) == []


def test_a_stranger_finds_the_rows_and_how_far_the_handover_is() -> None:
    (act,) = (each for each in propose(case({"a": 3, "b": 2})).acts if each.rule == "imported")
    assert act.hotkey == ""
    assert act.reason == (
        "shares are the network's moving average of 4012 evaluations of an existing validator, 2026-01-01 12:00 to "
        f"2026-01-02 11:00 UTC, from imported_emissions (sha256 of the file: {SHA256}); 1 of the 3 miners that it pays "
        "were asked here 3 times, and 2 must be"
    )


@pytest.mark.parametrize(
    ("asked", "basis"),
    [
        ({"a": 1, "b": 1, "c": 1}, "imported"),
        ({"a": 9, "b": 2, "c": 2}, "imported"),
        ({"a": 3, "d": 3}, "imported"),
        ({"a": 3, "b": 3}, "lookback"),
        ({"a": 9, "b": 9, "c": 9}, "lookback"),
    ],
)
def test_own_rounds_take_over_once_half_of_the_paid_were_asked_often_enough(asked: dict[str, int], basis: str) -> None:
    assert propose(case(asked)).basis == basis


@pytest.mark.parametrize("profile", ["robust", "network"])
def test_the_two_are_never_mixed(profile: str) -> None:
    """One round of one's own among four thousand others changes no share; and then they count for nothing."""
    before, few = propose(case(profile=profile)), propose(case({"d": 1}, profile=profile))
    assert few.shares == before.shares
    enough = case({"a": 3, "b": 3, "c": 3, "d": 3}, profile=profile)
    assert propose(enough).shares == propose(replace(enough, imported=None)).shares


def test_the_policy_says_how_much_evidence_it_takes() -> None:
    assert propose(case({"a": 3, "b": 3}, rules={"min_evidence_rounds": 4})).basis == "imported"
    assert propose(case({"a": 1, "b": 1}, rules={"min_evidence_rounds": 0})).basis == "lookback"


def test_who_left_or_is_a_validator_is_not_waited_for() -> None:
    there = subnet(miner("a", 1), miner("b", 2, ip=None, port=0), miner("c", 3, validator_permit=True, stake=5000.0))
    made_of = case({"a": 3}, subnet=there)
    assert propose(made_of).basis == "lookback"
    assert paid(propose(case(subnet=there))) == {"a": 1.0}
    assert propose(case(subnet=subnet(miner("x", 1)))).basis == "nothing"


@pytest.mark.parametrize(
    ("age_h", "blocks_since", "basis"),
    [
        (24.0, 100, "imported"),
        (24.1, 100, "nothing"),
        (24.1, 4000, "imported"),
        (48.1, 4000, "nothing"),
        (100.0, 4500, "imported"),
        (168.1, 4500, "nothing"),
        (-0.1, 100, "nothing"),
    ],
)
def test_it_expires_with_the_lookback_of_the_mode(age_h: float, blocks_since: int, basis: str) -> None:
    assert propose(case(imported=rows(age_h), blocks_since=blocks_since)).basis == basis


def test_where_nobody_of_it_answers_any_more_nothing_is_made_of_it() -> None:
    silent = {h: emission(h, asked=3, answered=0, paid=0, emission=0.0) for h in "abcd"}
    made_of = case(earned=earned(silent))
    proposal = propose(made_of)
    assert (proposal.basis, paid(proposal)) == ("nothing", {})
    assert [(act.rule, act.hotkey) for act in proposal.acts] == [("imported", ""), *(("answering", h) for h in "abc")]


def test_where_the_api_suspects_everybody_it_stands_all_the_same() -> None:
    proposal = propose(case(scores=dict.fromkeys("abcd", 0.9)))
    assert proposal.basis == "imported"
    assert paid(proposal) == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})


def test_who_answers_none_of_ours_has_nothing_of_what_it_earned_elsewhere() -> None:
    own = {
        "a": emission("a", asked=3, answered=0, paid=0, emission=0.0),
        "b": emission("b", asked=2, answered=0, paid=0, emission=0.0),
    }
    proposal = propose(case(earned=earned(own)))
    assert proposal.basis == "imported"
    assert paid(proposal) == pytest.approx({"b": 0.75, "c": 0.25})
    assert ("answering", "a", 0.6, 0.0) in acts(proposal)


@pytest.mark.parametrize("profile", ["robust", "network"])
def test_its_figures_are_penalised_by_its_own_rules(profile: str) -> None:
    """A fifth of the average stays, as there: our own evidence against anybody is still to come."""
    proposal = propose(case(profile=profile, scores={"a": 0.95}))
    assert paid(proposal) == pytest.approx({"a": 0.12 / 0.52, "b": 0.3 / 0.52, "c": 0.1 / 0.52})
    assert [(act.rule, act.hotkey) for act in proposal.acts] == [("imported", ""), ("sybil_penalty", "a")]


def test_caps_and_burn_hold_as_ever() -> None:
    there = subnet(*(miner(name, i, coldkey="one" if name in "ab" else name) for i, name in enumerate("abcd", 1)))
    averages = {"a": 0.3, "b": 0.3, "c": 0.2, "d": 0.2}
    made_of = case(imported=rows(averages=averages), subnet=there, rules={"entity_cap": 0.25, "max_share": 0.4})
    assert sum(propose(made_of).shares[h] for h in "ab") == pytest.approx(0.6)  # three entities: 2/3 is the floor
    burnt = propose(case(rules={"burn_hotkey": "d", "burn_share": 0.5}))
    assert burnt.shares["d"] == pytest.approx(0.5)


def test_taking_over_is_no_change_that_holds_weights_up() -> None:
    """Own rounds may see everything otherwise; what stood before was no opinion of this validator."""
    made_of = case({"c": 3, "d": 3, "b": 3}, last=last_of({"a": 1.0}, rounds=4012, basis="imported"))
    proposal = propose(made_of)
    assert proposal.basis == "lookback"
    change = next(each for each in judged(proposal, made_of) if each.name == "change")
    assert change.passed
    assert "of the basis imported; no round of ours stood behind them" in change.reason


def test_an_import_after_the_first_own_weights_may_still_come_first() -> None:
    """Weights of three rounds were set before anybody thought of importing: two hours ago, and half an hour ago."""
    made_of = case({"d": 3}, last=last_of({"d": 1.0}, rounds=3, basis="lookback"))
    proposal = propose(made_of)
    assert proposal.basis == "imported"
    assert unmet(proposal, made_of) == []


def test_once_own_rounds_made_weights_it_is_over_whoever_leaves() -> None:
    since = last_of({"a": 1.0}, NOON - timedelta(minutes=20), rounds=30, basis="lookback")
    assert propose(case({"a": 3}, last=since)).basis == "lookback"
    assert propose(case({"a": 3})).basis == "imported"


def test_in_an_emergency_it_comes_before_the_last_weights() -> None:
    made_of = case(blocks_since=4500, last=last(d=1.0))
    assert propose(made_of).basis == "imported"
    assert propose(replace(made_of, imported=None)).basis == "last_vector"


def test_this_validator_gets_nothing_of_it() -> None:
    assert OWN not in paid(propose(case(imported=rows(averages={OWN: 1.0, "a": 1.0}))))

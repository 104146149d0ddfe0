"""The first hours after a switch: what an existing validator had found, until this one has found as much."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from loosh_pipeline.domain import Hotkey, Proposal
from loosh_pipeline.policy.checks import judged, unmet
from loosh_pipeline.policy.inputs import Imported, Presence
from loosh_pipeline.policy.propose import propose
from tests.builders import NOON, emission
from tests.policy.cases import OWN, acts, earned, inputs, last, last_of, miner, subnet

SHA256 = "d1" * 32
AVERAGES = {"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.0}


def rows(age_h: float = 1.0, averages: dict[str, float] | None = None, read_h: float = 0.5, **counts: int) -> Imported:
    """Imported `read_h` ago. `counts`: of evaluations that name a hotkey, where it is not most of them."""
    until = NOON - timedelta(hours=age_h)
    found = {Hotkey(hotkey): value for hotkey, value in (averages or AVERAGES).items()}
    named = {hotkey: counts.get(hotkey, 3000) for hotkey in found}
    return Imported(until - timedelta(hours=23), until, 4012, found, named, (SHA256,), NOON - timedelta(hours=read_h))


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
        "were asked here 3 times or looked for in vain, and 2 must be"
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
    """And looked for all the while: who hides has by then less and less of it, see above."""
    looked_for = {"a": Presence(0.1, 700), "b": Presence(1.0, 700), "c": Presence(1.0, 700)}
    proposal = propose(case(imported=rows(age_h), blocks_since=blocks_since, presence=looked_for))
    assert proposal.basis == basis
    wanted = {"a": 0.06 / 0.46, "b": 0.3 / 0.46, "c": 0.1 / 0.46} if basis == "imported" else {}
    assert paid(proposal) == pytest.approx(wanted)


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
def test_who_answers_once_in_a_while_keeps_that_part_of_it(profile: str) -> None:
    own = {"a": emission("a", asked=400, answered=1, paid=0, emission=0.0)}
    proposal = propose(case(earned=earned(own), profile=profile))
    left = 0.6 / 400
    assert paid(proposal) == pytest.approx({"a": left / (left + 0.4), "b": 0.3 / (left + 0.4), "c": 0.1 / (left + 0.4)})
    (act,) = (each for each in proposal.acts if each.rule == "answering")
    assert (act.hotkey, act.reason) == ("a", "asked 400 times since the switch, and answered 1")


@pytest.mark.parametrize("profile", ["robust", "network"])
def test_who_hides_has_that_much_less_of_it(profile: str) -> None:
    """A ring that is never there is never asked, and holds nine tenths."""
    presence = {"a": Presence(0.02, 50), "b": Presence(0.02, 50), "c": Presence(1.0, 50), "d": Presence(1.0, 50)}
    made_of = case(presence=presence, profile=profile)
    proposal = propose(made_of)
    total = 0.02 * 0.9 + 0.1
    assert paid(proposal) == pytest.approx({"a": 0.012 / total, "b": 0.006 / total, "c": 0.1 / total})
    assert ("present", "a", 0.6, 0.012) in acts(proposal)
    assert "there for 2.0% of 50 looks" in {act.reason for act in proposal.acts}
    assert unmet(proposal, made_of) == []


@pytest.mark.parametrize(
    ("presence", "basis"),
    [
        (Presence(0.02, 50), "lookback"),
        (Presence(0.49, 30), "lookback"),
        (Presence(0.5, 50), "imported"),
        (Presence(0.05, 29), "imported"),
    ],
)
def test_who_was_looked_for_often_and_was_mostly_absent_is_known(presence: Presence, basis: str) -> None:
    """Or those that hold most of it would keep it by being nowhere: the two that serve were asked often."""
    made_of = case({"c": 50, "d": 50}, presence={"a": presence, "b": presence})
    assert propose(made_of).basis == basis
    assert propose(case(presence={"a": presence, "b": presence})).basis == "imported", "nobody has earned yet"


def test_own_rounds_take_over_from_as_many_as_weights_want_at_least() -> None:
    few = case({"a": 3, "b": 3}, rules={"min_rounds": 11})
    assert propose(few).basis == "imported"
    assert propose(replace(few, policy=replace(few.policy, min_rounds=10))).basis == "lookback"


def test_where_rules_leave_nobody_of_it_too_few_own_rounds_make_no_weights() -> None:
    """It switches off no minimum that holds without it."""
    silent = {h: emission(h, asked=3, answered=0, paid=0, emission=0.0) for h in "abc"}
    own = earned({**silent, "d": emission("d", asked=3, answered=3, paid=3, emission=0.25)})
    made_of = case(earned=own, rules={"min_rounds": 11})
    assert propose(made_of).basis == "nothing"
    assert propose(replace(made_of, policy=replace(made_of.policy, min_rounds=10))).basis == "lookback"


@pytest.mark.parametrize("averages", [{"a": 0.0, "b": 0.0}, {"x": 0.5, "y": 0.5}])
def test_where_it_pays_nobody_who_is_there_it_stands_in_nobodys_way(averages: dict[str, float]) -> None:
    proposal = propose(case({"a": 3}, imported=rows(averages=averages)))
    assert (proposal.basis, paid(proposal)) == ("lookback", {"a": 1.0})


@pytest.mark.parametrize("profile", ["robust", "network"])
def test_a_newcomers_first_values_are_no_average(profile: str) -> None:
    """One lucky or made-up last row would have half of all; the least evidence of own rounds holds for these too."""
    averages = {"a": 1.0, "b": 0.5, "c": 0.5}
    made_of = case(imported=rows(averages=averages, a=2), profile=profile)
    proposal = propose(made_of)
    assert paid(proposal) == pytest.approx({"b": 0.5, "c": 0.5})
    (act,) = (each for each in proposal.acts if each.rule == "min_evidence")
    assert (act.hotkey, act.reason) == ("a", "2 of the evaluations that were taken over name it; it takes 3")
    assert "0 of the 2 miners that it pays" in proposal.acts[0].reason
    assert paid(propose(replace(made_of, imported=rows(averages=averages, a=3))))["a"] == pytest.approx(0.5)


def test_of_few_evaluations_fewer_are_enough() -> None:
    assert set(paid(propose(case(imported=rows(a=2, b=2, c=1, d=2))))) == {"a", "b", "c"}


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


HOURS_AGO_3, HOUR_AGO = NOON - timedelta(hours=3), NOON - timedelta(hours=1)


@pytest.mark.parametrize(
    "set_since",
    [
        {"basis": "lookback"},
        {"basis": "longer_lookback"},
        {"basis": "last_vector", "own_before": HOURS_AGO_3},
        {"basis": "uniform", "own_before": HOURS_AGO_3},
        {"basis": "imported", "own_before": HOURS_AGO_3},
        {"basis": None},
    ],
)
def test_once_own_rounds_made_weights_it_is_over_whoever_leaves(set_since: dict[str, Any]) -> None:
    """Whatever was set after them, and though nobody knows any more what some were made of."""
    since = last_of({"a": 1.0}, HOUR_AGO, rounds=30, **set_since)
    made_of = case({"a": 3}, imported=rows(5.0, read_h=4.0), last=since)
    assert propose(made_of).basis == "lookback"
    assert propose(replace(made_of, last=None)).basis == "imported"


@pytest.mark.parametrize("basis", ["last_vector", "uniform", "imported"])
def test_weights_that_no_own_round_made_end_nothing(basis: str) -> None:
    for own_before in (None, NOON - timedelta(hours=4, minutes=1)):
        last = last_of({"a": 1.0}, HOUR_AGO, rounds=30, basis=basis, own_before=own_before)
        assert propose(case({"a": 3}, imported=rows(5.0, read_h=4.0), last=last)).basis == "imported"


def test_in_an_emergency_it_comes_before_the_last_weights() -> None:
    made_of = case(blocks_since=4500, last=last(d=1.0))
    assert propose(made_of).basis == "imported"
    assert propose(replace(made_of, imported=None)).basis == "last_vector"


def test_this_validator_gets_nothing_of_it() -> None:
    assert OWN not in paid(propose(case(imported=rows(averages={OWN: 1.0, "a": 1.0}))))

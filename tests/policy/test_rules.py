"""Each rule by a worked example: what it does, and what it says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from loosh_pipeline.domain import RuleAct
from loosh_pipeline.policy.entities import address_of
from loosh_pipeline.policy.inputs import Policy
from loosh_pipeline.proposing import policy_of
from tests.builders import NOON, emission, network_view
from tests.policy.cases import OWN, acts, earned, miner, proposed, same_source, subnet

LOOPBACK = "127.0.0.1"


def test_without_anything_to_say_emissions_become_shares() -> None:
    proposal = proposed({"a": 0.6, "b": 0.2, "c": 0.0})
    assert proposal.shares == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.0})
    assert (proposal.acts, proposal.basis, proposal.mode, proposal.rounds) == ((), "lookback", "normal", 10)


def test_who_left_the_subnet_is_out_whoever_has_its_slot_now() -> None:
    there = subnet(miner("a", 1), miner("successor", 2))
    proposal = proposed({"a": 0.5, "gone": 0.5}, subnet=there)
    assert proposal.shares == {"a": 1.0}
    assert proposal.acts == (RuleAct("registered", "gone", 0.5, 0.0, "not registered on subnet 78 at block 10100"),)


def test_a_validator_gives_itself_nothing() -> None:
    there = subnet(miner("a", 1))
    own = replace(there.neurons[0], ip="8.8.4.4", port=9000)
    proposal = proposed({"a": 0.5, OWN: 0.5}, subnet=replace(there, neurons=(own, *there.neurons[1:])))
    assert proposal.shares == {"a": 1.0, OWN: 0.0}
    assert acts(proposal) == [("own_hotkey", OWN, 0.5, 0.0)]


@pytest.mark.parametrize(
    ("view", "out"),
    [
        (network_view(validators=frozenset({"listed"})), "listed"),
        (network_view(validators=frozenset({"listed"}), taken_at=NOON - timedelta(hours=25)), "whale"),
        (network_view(validators=frozenset()), "whale"),
        (None, "whale"),
    ],
    ids=["listed", "the list is old", "the list is empty", "there never was one"],
)
def test_s29_validators_are_told_by_the_list_or_else_by_permit_and_stake(view, out: str) -> None:
    """The existing validator drops the rule of stake as soon as it has an empty list."""
    there = subnet(
        miner("a", 1),
        miner("listed", 2),
        miner("whale", 3, validator_permit=True, stake=999.0),
        miner("rich", 4, stake=5000.0),
        miner("permitted", 5, validator_permit=True, stake=998.0),
    )
    names = ("a", "listed", "whale", "rich", "permitted")
    proposal = proposed(dict.fromkeys(names, 0.2), subnet=there, view=view)
    assert {name for name, share in proposal.shares.items() if not share} == {out}
    assert acts(proposal) == [("validators", out, 0.2, 0.0)]


def test_who_serves_nowhere_is_out() -> None:
    proposal = proposed({"a": 0.5, "b": 0.5}, subnet=subnet(miner("a", 1), miner("b", 2, ip=None, port=0)))
    assert acts(proposal) == [("serving", "b", 0.5, 0.0)]
    assert proposal.shares == {"a": 1.0, "b": 0.0}


def test_who_was_asked_twice_could_have_been_lucky() -> None:
    proposal = proposed({"a": emission("a", asked=10), "b": emission("b", asked=3), "c": emission("c", asked=2)})
    assert proposal.shares == {"a": 0.5, "b": 0.5, "c": 0.0}
    assert proposal.acts[0].reason == "asked 2 times in the lookback; it takes 3"


@pytest.mark.parametrize(("often", "out"), [(3, set()), (4, {"c"}), (5, {"c"}), (6, {"b", "c"})])
def test_where_nobody_could_be_asked_as_often_half_of_what_others_were_is_enough(often: int, out: set[str]) -> None:
    names = {name: emission(name, asked=often) for name in "xyz"}
    proposal = proposed(names | {"b": emission("b", asked=2), "c": emission("c", asked=1)})
    assert {name for name, share in proposal.shares.items() if not share} == out


def test_fresh_identities_by_the_dozen_do_not_make_little_evidence_enough() -> None:
    old, fresh = [f"m{i}" for i in range(10)], [f"new{i}" for i in range(25)]
    names = {name: emission(name, asked=10) for name in old} | {name: emission(name, asked=1) for name in fresh}
    proposal = proposed(names)
    assert {name for name, share in proposal.shares.items() if share} == set(old)


def test_a_suspected_sybil_loses_what_its_score_says_when_our_own_records_agree() -> None:
    what = earned({"a": 0.4, "b": 0.4, "c": 0.2}, sources=(same_source("a", "c"),))
    proposal = proposed({"a": 0.4, "b": 0.4, "c": 0.2}, earned=what, scores={"a": 0.5, "c": 0.05})
    assert acts(proposal) == [("sybil_penalty", "a", 0.4, 0.2)]
    assert proposal.acts[0].reason == (
        "the Challenge API's sybil score is 0.50; its answers and those of c are of one source to 80%, over 12 rounds"
    )
    assert proposal.shares == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25})


def test_s24_a_score_without_a_reason_takes_nothing_and_is_on_record() -> None:
    proposal = proposed({"a": 0.5, "b": 0.5}, scores={"a": 1.0})
    assert proposal.shares == {"a": 0.5, "b": 0.5}
    assert acts(proposal) == [("sybil_penalty", "a", 0.5, 0.5)]
    assert "spared: the Challenge API's sybil score is 1.00, and nothing of our own" in proposal.acts[0].reason


def test_s24_a_score_does_not_outlive_a_day() -> None:
    """The existing validator keeps one in a file for as long as the API is away, and takes it for fresh."""
    for ago, taken in ((timedelta(hours=23), True), (timedelta(hours=25), False)):
        view = network_view(sybil_scores={"a": 1.0}, taken_at=NOON - ago)
        proposal = proposed({"a": 0.5, "b": 0.5}, view=view, rules={"sybil_evidence": False})
        assert (proposal.shares["a"] == 0) == taken


def test_the_operator_may_believe_the_api_alone() -> None:
    proposal = proposed({"a": 0.5, "b": 0.5}, scores={"a": 1.0}, rules={"sybil_evidence": False})
    assert proposal.shares == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(
    ("fields", "evidence"),
    [
        ({"coldkey": "owner"}, "it shares coldkey owner with b"),
        ({"ip": "8.8.4.4"}, "it shares address 8.8.4.4 with b"),
        ({"ip": "2606:4700:1:2::1"}, None),
        ({"ip": LOOPBACK}, None),
        ({"ip": "192.168.1.7"}, None),
    ],
)
def test_a_shared_owner_is_evidence_and_a_private_address_is_none(fields: dict[str, str], evidence: str | None) -> None:
    others = {"ip": "2606:4700:2:3::1"} if fields.get("ip", "").startswith("2606") else fields
    there = subnet(miner("a", 1, **fields), miner("b", 2, **others), miner("c", 3))
    proposal = proposed({"a": 0.4, "b": 0.4, "c": 0.2}, subnet=there, scores={"a": 0.5})
    assert (proposal.acts[0].after < 0.4) == (evidence is not None)
    assert (evidence or "nothing of our own") in proposal.acts[0].reason


def test_only_hotkeys_that_were_asked_are_evidence() -> None:
    """Announcing somebody's address costs a registration, and must not be enough to have it penalised."""
    there = subnet(miner("victim", 1), miner("b", 2), miner("framer", 3, ip=miner("victim", 1).ip))
    proposal = proposed({"victim": 0.5, "b": 0.5}, subnet=there, scores={"victim": 0.5})
    assert proposal.shares == {"victim": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("most", "struck"), [(0.0, []), (0.01, ["e"]), (0.33, ["e"]), (0.5, ["d", "e"]), (1.0, list("abcde"))]
)
def test_no_more_than_a_part_of_the_serving_are_penalised_the_worst_first(most: float, struck: list[str]) -> None:
    scores = {name: 0.1 * (i + 1) for i, name in enumerate("abcde")}
    proposal = proposed(
        dict.fromkeys("abcde", 0.2), scores=scores, rules={"sybil_evidence": False, "max_penalised_share": most}
    )
    assert sorted(act.hotkey for act in proposal.acts if act.after < act.before) == struck
    spared = [act for act in proposal.acts if act.after == act.before]
    assert len(spared) == 5 - len(struck)
    assert all("serving miners are penalised already" in act.reason for act in spared)


def test_hotkeys_of_one_owner_share_a_cap() -> None:
    names = [f"m{i}" for i in range(12)]
    there = subnet(*(miner(name, i, coldkey="ring" if i < 4 else name) for i, name in enumerate(names)))
    proposal = proposed(dict.fromkeys(names, 1.0), subnet=there, rules={"entity_cap": 0.25})
    assert proposal.shares == pytest.approx({name: 0.0625 if i < 4 else 0.75 / 8 for i, name in enumerate(names)})
    assert [act.hotkey for act in proposal.acts] == ["m0", "m1", "m2", "m3"]
    assert "entity m0) would have 33.3%; 25.0% is the most" in proposal.acts[0].reason


def test_s16_who_is_joined_through_another_is_one_entity() -> None:
    """One owner on two addresses, and a second owner at one of them: there, caps are by address alone, or leak."""
    there = subnet(
        miner("a", 1, coldkey="x", ip="8.8.4.1"),
        miner("b", 2, coldkey="x", ip="8.8.4.2"),
        miner("c", 3, coldkey="y", ip="8.8.4.2"),
        *(miner(f"m{i}", 10 + i) for i in range(9)),
    )
    names = ["a", "b", "c", *(f"m{i}" for i in range(9))]
    proposal = proposed(dict.fromkeys(names, 1.0), subnet=there, rules={"entity_cap": 0.2})
    assert sum(proposal.shares[name] for name in "abc") == pytest.approx(0.2)


@pytest.mark.parametrize("scores", [{}, {"victim": 0.5}])
def test_announcing_the_address_of_another_frames_nobody(scores: dict[str, float]) -> None:
    """The framer was asked and paid once, at an address of its own, and then announces that of the victim."""
    names = {"victim": 0.45, **{f"m{i}": 0.05 for i in range(9)}, "framer": 1e-6}
    there = subnet(*(miner(name, i) for i, name in enumerate(names, 1)))
    moved = replace(there.neurons[-1], ip=miner("victim", 1).ip)
    proposal = proposed(
        names,
        subnet=replace(there, neurons=(*there.neurons[:-1], moved)),
        answered_at={each.hotkey: each.ip for each in there.neurons if each.ip},
        scores=scores,
        rules={"entity_cap": 0.5},
    )
    assert proposal.shares["victim"] == pytest.approx(0.5, abs=1e-5)
    assert "nothing of our own speaks against it" in proposal.acts[0].reason if scores else not proposal.acts


def test_one_owner_that_earns_next_to_nothing_bridges_no_strangers() -> None:
    """Ten hotkeys of one coldkey, at the addresses of the ten best miners just before weights are made."""
    best = [f"m{i}" for i in range(10)]
    evil = [f"evil-{i}" for i in range(10)]
    names = dict.fromkeys(best, 1.0) | dict.fromkeys(evil, 1e-6)
    before = subnet(*(miner(name, i, coldkey="evil" if i > 10 else name) for i, name in enumerate(names, 1)))
    moved = tuple(
        replace(each, ip=before.neurons[each.uid - 10].ip) if each.uid > 10 else each for each in before.neurons
    )
    proposal = proposed(
        names,
        subnet=replace(before, neurons=moved),
        answered_at={each.hotkey: each.ip for each in before.neurons if each.ip},
        rules={"entity_cap": 0.25},
    )
    assert {name: proposal.shares[name] for name in best} == pytest.approx(dict.fromkeys(best, 0.1), rel=1e-4)
    assert proposal.acts == ()


def test_an_address_counts_when_both_answered_there_and_were_paid() -> None:
    names = {"a": 3.0, "b": emission("b", emission=1.0, paid=0), **{f"m{i}": 0.5 for i in range(8)}}
    at = {name: "8.8.4.4" for name in "ab"}
    unpaid = proposed(names, answered_at=at, rules={"entity_cap": 0.25})
    assert unpaid.acts == (), "who is that good alone is not fined for it"
    both = proposed(names | {"b": 1.0}, answered_at=at, rules={"entity_cap": 0.25})
    assert [act.hotkey for act in both.acts] == ["a", "b"]
    one = proposed(names | {"b": 1.0}, answered_at={"a": "8.8.4.4"}, rules={"entity_cap": 0.25})
    assert one.acts == ()


@pytest.mark.parametrize("ip", ["2002:808:404::1", "64:ff9b::808:404", "::ffff:8.8.4.4"])
def test_ipv4_within_ipv6_is_that_address(ip: str) -> None:
    assert address_of(ip) == address_of("8.8.4.4") == "8.8.4.4"


@pytest.mark.parametrize("ip", [None, "", "x", LOOPBACK, "::1", "fc00::1", "2002:7f00:1::1", "64:ff9b::a00:1"])
def test_what_is_not_public_says_nothing(ip: str | None) -> None:
    assert address_of(ip) is None


def test_an_address_of_ipv6_is_its_network() -> None:
    there = subnet(
        miner("a", 1, ip="2606:4700:1:2::1"),
        miner("b", 2, ip="2606:4700:1:ffff::9"),
        *(miner(f"m{i}", 10 + i) for i in range(8)),
    )
    names = ["a", "b", *(f"m{i}" for i in range(8))]
    proposal = proposed(dict.fromkeys(names, 1.0) | {"a": 3.0, "b": 3.0}, subnet=there, rules={"entity_cap": 0.25})
    assert proposal.shares["a"] + proposal.shares["b"] == pytest.approx(0.25)


def test_few_entities_are_left_room_to_differ() -> None:
    """With four, a cap of a quarter would make all alike; the floor lets one be twice as good as the mean."""
    earned = {"a": 0.4, "a2": 0.3, "b": 0.1, "c": 0.1, "d": 0.1}
    proposal = proposed(earned, answered_at=dict.fromkeys(("a", "a2"), "8.8.4.4"), rules={"entity_cap": 0.25})
    others = dict.fromkeys("bcd", 1 / 6)
    assert proposal.shares == pytest.approx({"a": 0.5 * 4 / 7, "a2": 0.5 * 3 / 7} | others)


def test_an_entity_gets_as_much_as_the_best_single_miner_would() -> None:
    earned = {"best": 0.6, "a": 0.4, "a2": 0.4, "b": 0.1, "c": 0.1, "d": 0.1, "e": 0.1}
    proposal = proposed(earned, answered_at=dict.fromkeys(("a", "a2"), "8.8.4.4"), rules={"entity_cap": 0.25})
    assert proposal.shares["best"] == pytest.approx(0.6 / 1.8)
    assert proposal.shares["a"] + proposal.shares["a2"] == pytest.approx(0.6 / 1.8)
    assert {act.hotkey for act in proposal.acts} == {"a", "a2"}


def test_a_bystander_joins_nobody() -> None:
    """Who earns nothing may announce any address: it must not put the best miners under one cap."""
    names = [f"m{i}" for i in range(10)]
    there = subnet(
        *(miner(name, i) for i, name in enumerate(names)),
        *(miner(f"griefer-{i}", 100 + i, coldkey="griefer", ip=miner(name, i).ip) for i, name in enumerate(names)),
    )
    proposal = proposed(dict.fromkeys(names, 1.0), subnet=there, rules={"entity_cap": 0.25})
    assert proposal.shares == pytest.approx(dict.fromkeys(names, 0.1))
    assert proposal.acts == ()


def test_one_miner_may_be_capped_by_the_operator_or_by_the_chain() -> None:
    earnings = {"a": 0.8, "b": 0.1, "c": 0.1}
    operator = proposed(earnings, rules={"max_share": 0.4})
    assert operator.shares == pytest.approx({"a": 0.4, "b": 0.3, "c": 0.3})
    assert acts(operator) == [("max_share", "a", 0.8, 0.4)]
    there = subnet(*(miner(name, i) for i, name in enumerate(earnings, 1)), max_weight_share=0.5)
    assert proposed(earnings, subnet=there).shares == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25})


def test_a_limit_that_cannot_hold_pays_nobody_who_earned_nothing() -> None:
    """The chain's own client turns [1, 0] under a limit of .4 into [.5, .5]."""
    there = subnet(miner("a", 1), miner("b", 2), max_weight_share=0.4)
    assert proposed({"a": 1.0, "b": 0.0}, subnet=there).shares == {"a": 1.0, "b": 0.0}


def test_a_part_of_all_is_burnt_whatever_else_holds() -> None:
    there = subnet(miner("a", 1), miner("b", 2), miner("owner", 3, ip=None, port=0, coldkey="cold-a"))
    rules = {"burn_hotkey": "owner", "burn_share": 0.4, "max_share": 0.5}
    proposal = proposed({"a": 0.9, "b": 0.1}, subnet=there, rules=rules)
    assert proposal.shares == pytest.approx({"a": 0.3, "b": 0.3, "owner": 0.4})
    assert acts(proposal)[-1] == ("burn", "owner", 0.0, 0.4)


@pytest.mark.parametrize("whom", ["stranger", OWN])
def test_who_cannot_be_given_anything_is_left_out_on_record(whom: str) -> None:
    proposal = proposed({"a": 0.5, "b": 0.5}, rules={"burn_hotkey": whom, "burn_share": 0.4})
    assert {h: s for h, s in proposal.shares.items() if s} == {"a": 0.5, "b": 0.5}
    assert acts(proposal) == [("burn", whom, 0.0, 0.0)]


def test_of_nothing_nothing_is_burnt() -> None:
    there = subnet(miner("a", 1), miner("owner", 2))
    proposal = proposed({"a": 0.0}, subnet=there, rules={"burn_hotkey": "owner", "burn_share": 0.4})
    assert (set(proposal.shares.values()), proposal.basis) == ({0.0}, "nothing")


NEEDS_FOUR = {"min_allowed_weights": 4}


def padding_case(blocks_since: int):
    names = {
        "a": emission("a", emission=0.9),
        "answered": emission("answered", emission=0.0, paid=0),
        "sybil": emission("sybil", emission=0.0, paid=0),
        "silent": emission("silent", emission=0.0, answered=0, paid=0),
        "gone": emission("gone", emission=0.0, paid=0),
        "b": emission("b", emission=0.1),
    }
    there = [miner(name, i) for i, name in enumerate(names, 1) if name not in ("gone", "sybil")]
    sybil = miner("sybil", 8, coldkey="cold-a")
    subnet_ = subnet(*there, sybil, miner("never asked", 9), blocks_since=blocks_since, **NEEDS_FOUR)
    return proposed(names, subnet=subnet_, scores={"sybil": 0.9})


@pytest.mark.parametrize("blocks_since", [100, 4000, 4500])
def test_w_24_the_chains_number_is_made_up_of_miners_that_answered(blocks_since: int) -> None:
    """The smallest weight there is; never for the suspected, the silent, or who was never asked."""
    proposal = padding_case(blocks_since)
    assert {h for h, share in proposal.shares.items() if share} == {"a", "b", "answered"}
    assert proposal.shares["answered"] == pytest.approx(proposal.shares["a"] / 65_535)
    assert [act.hotkey for act in proposal.acts if act.rule == "minimum_weights"] == ["answered"]


def test_the_defaults_are_those_of_the_settings(settings) -> None:
    assert policy_of(settings) == Policy()

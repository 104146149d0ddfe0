"""Weights of an epoch as they would be otherwise: what is exact is what a validator set up so would have set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from loosh_pipeline.audit.changes import POLICY, RULE, SHORT, Changes, changes
from loosh_pipeline.audit.recorded import given_of, recorded_epoch
from loosh_pipeline.audit.sampling import Draw, Spread, drawn, of_rounds, scaled, spread, unjudged
from loosh_pipeline.audit.stored_rows import MEASURING
from loosh_pipeline.audit.weighing_again import Given, earnings_again, weighed
from loosh_pipeline.audit.weight_diff import WeightDiff, weight_diff
from loosh_pipeline.audit.whatif import Effort, How, WhatIf, what_if
from loosh_pipeline.domain import ChallengeId, Hotkey, NetworkView
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.errors import ConfigError, StoreError, UnknownEpoch
from loosh_pipeline.paying import as_earned, earned_over
from loosh_pipeline.policy.inputs import Policy
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.proposing import policy_of, rule_of
from loosh_pipeline.rescoring.rounds import Found, of_day
from loosh_pipeline.rescoring.scoring import score_batch
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.canaries import CanaryMark, mark
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import PAIRS, SCORES, WindowRows
from resources.duckdb import tables_duckdb
from tests.audit.otherwise.epoch import HOTKEYS, ROBUST, ROUNDS, newest, score, validator
from tests.world import World

OTHER = profile_of("robust", {"power": 1.0, "speed": 0.5})
"""Acts on stored rows, so that nothing has to be scored anew."""
FEW = Effort(sample=15, seed=3, processes=1)


def tried(world: World, *pairs: str, effort: Effort = FEW, **how: object) -> WhatIf:
    epoch = newest(world)
    wanted = changes(pairs, epoch.profile, **how)  # type: ignore[arg-type]
    return what_if(world.store.tables, world.store.inbox, epoch, wanted, effort, lambda _: None)


def test_with_nothing_changed_the_weights_come_out_again(world: World) -> None:
    found = tried(world)
    assert found.differing == ()
    assert found.exact
    assert found.after.weights == newest(world).weights
    assert (found.diff.total_variation, found.diff.vtrust, found.acts) == (0.0, 1.0, ())
    assert found.before.earned.rounds == found.after.earned.rounds == found.of_rounds == ROUNDS


@pytest.mark.parametrize(
    ("pairs", "environment"),
    [
        (["half_life=1"], {"EMISSIONS_HALF_LIFE_H": "1"}),
        (["full_evidence=30"], {"EMISSIONS_FULL_EVIDENCE_ROUNDS": "30"}),
        (["WEIGHTS_MAX_SHARE=0.088"], {"WEIGHTS_MAX_SHARE": "0.088"}),
        (["lookback=2h"], {"EMISSIONS_LOOKBACK_H": "2"}),
    ],
)
def test_what_is_exact_is_what_would_have_been_set(
    world: World, monkeypatch: pytest.MonkeyPatch, pairs: list[str], environment: dict[str, str]
) -> None:
    """The oracle is what the assets do with these settings, at the moment at which the emissions were made."""
    found, epoch = tried(world, *pairs), newest(world)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    settings, at = get_settings(), epoch.terms.made_at
    with tables_duckdb().get_connection() as connection:
        over = rule_of(settings), at, settings.emissions_lookback_h
        earned = earned_over(world.store.tables, connection, epoch.profile, *over)
    inputs = replace(epoch.inputs, earned=as_earned(earned), policy=policy_of(settings))
    assert found.exact
    assert found.differing == ()
    if pairs != ["full_evidence=30"]:  # less is attainable here
        assert found.diff.total_variation > 0
    assert found.after.proposal == propose(inputs)
    assert found.after.earned.emissions == earned.emissions


def test_leaving_a_miner_out_is_as_if_it_had_not_been_asked(world: World) -> None:
    """The oracle: its rows and pairs are deleted from the tables, and weights are made again."""
    gone = HOTKEYS[2]
    found = tried(world, left_out=[gone])
    tables = world.store.tables
    for asset, columns in ((SCORES, ["hotkey"]), (PAIRS, ["first", "second"])):
        for day in tables.days(asset):
            for key, frame in list(tables.each(asset, day)):
                tables.write(asset, key, frame.filter(*(pl.col(each) != gone for each in columns)))
    world.chain.advance(400)
    world.set_weights("emissions", "weight_proposal", raise_on_error=False)
    then = world.store.newest_proposal()
    assert then is not None
    assert found.exact
    assert found.differing == ()
    assert gone not in found.after.proposal.shares
    assert found.after.proposal.shares == pytest.approx({h: s for h, s in then.shares.items() if h != gone}, abs=1e-9)


@pytest.mark.slow
def test_parameters_of_judging_and_settling_are_exact_from_stored_rows(world: World) -> None:
    """The oracle: all rounds scored anew from texts and vectors under the parameter."""
    todays, recorded = RobustProfile(), newest(world).profile
    for name in (each.name for each in fields(RobustProfile) if each.name not in MEASURING["robust"]):
        pair = f"{name}={_other(todays, name)}"
        found = tried(world, pair)
        assert found.how is How.STORED, name
        assert found.differing == (), name
        expected = _scored_anew(world, changes([pair], recorded).profile_from(recorded))
        assert found.after.proposal.shares == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def _other(profile: RobustProfile, name: str) -> float:
    """A value that it may have and has not."""
    value = float(getattr(profile, name))
    if name.endswith("_high"):
        low = float(getattr(profile, name.replace("_high", "_low")))
        return low + 0.7 * (value - low)
    return 1 if name == "track_passes" else round(0.9 * value, 4)


def _scored_anew(world: World, profile: ScoringProfile) -> dict[Hotkey, float]:
    tables, given = world.store.tables, given_of(world.store.tables, newest(world))
    days = tables.days("embeddings")
    rounds = [
        each.round
        for day in days
        for batch in of_day(tables, world.store.inbox, day)
        for each in batch
        if isinstance(each, Found)
    ]
    done = score_batch(rounds, Contexts(tables).at, profile)
    assert done.unscorable == ()
    rows = WindowRows(done.scores.select(list(SETTLED_FROM)), done.pairs.select(list(PAIRED_FROM)))
    return dict(weighed(replace(given, rows=rows, profile=profile)).proposal.shares)


@pytest.mark.slow
def test_a_parameter_of_measuring_is_tried_on_a_sample_and_in_full_on_all(world: World) -> None:
    sampled = tried(world, "young_stop_weight=0.9")
    assert sampled.how is How.SAMPLED
    assert (sampled.after.earned.rounds, sampled.of_rounds) == (15, ROUNDS)
    assert sampled.spread is not None
    found = sampled.spread.total_variation
    assert found.between.low <= found.value <= found.between.high
    assert sampled.vtrust == 1 - found.value
    for move in sampled.diff.moves:
        between = sampled.interval(move.hotkey)
        assert (between is None) is (move.hotkey in sampled.unjudged)
        assert between is None or between.low <= move.change <= between.high
    again = tried(world, "young_stop_weight=0.9")
    assert again.diff == sampled.diff
    assert again.spread is not None
    assert again.spread.total_variation == found
    full = tried(world, "young_stop_weight=0.9", effort=Effort(15, full=True, processes=1))
    assert full.how is How.RESCORED
    assert full.spread is None
    profile = profile_of("robust", {"young_stop_weight": 0.9})
    assert full.after.proposal.shares == pytest.approx(_scored_anew(world, profile), rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_another_profile_is_exact_once_it_is_stored(world: World) -> None:
    full = tried(world, profile="network", effort=Effort(15, full=True, processes=1))
    assert full.how is How.RESCORED
    score(world, profile_of("network"))  # to tried_scores: it does not run here
    stored = tried(world, profile="network")
    assert stored.how is How.STORED
    assert stored.after.weights == full.after.weights
    without = tried(world, profile="network", left_out=[HOTKEYS[0]])
    assert without.how is How.SAMPLED, "what the network's method says of an answer hangs on all others"


@pytest.mark.slow
def test_intervals_of_samples_hold_the_truth_of_all_rounds(world: World) -> None:
    """The oracle: both sides over all rounds. Each seed draws other rounds; 95 % of intervals are to hold it."""
    given, profile = given_of(world.store.tables, newest(world)), OTHER
    truth = _both(given, profile)[2]
    change = {each.hotkey: each.change for each in truth.moves}
    held, miners = [], []
    for size, seed in ((size, seed) for size in (12, 24) for seed in range(12)):
        found = _estimated(given, profile, size, seed)
        between = found.total_variation.between
        held.append(between.low <= truth.total_variation <= between.high)
        miners += [each.low <= change[hotkey] <= each.high for hotkey, each in found.changes.items()]
    assert truth.total_variation > 0.02
    assert np.mean(held) >= 0.9
    assert np.mean(miners) >= 0.85


@pytest.mark.slow
def test_a_sample_of_nearly_all_rounds_says_nearly_what_all_say(world: World) -> None:
    given, profile = given_of(world.store.tables, newest(world)), OTHER
    truth = _both(given, profile)[2].total_variation
    for seed in range(4):
        found = _estimated(given, profile, ROUNDS - 1, seed).total_variation
        assert found.between.low <= truth <= found.between.high
        assert found.value == pytest.approx(truth, rel=0.3)


def _both(given: Given, profile: ScoringProfile) -> tuple[Given, Given, WeightDiff]:
    other = replace(given, profile=profile)
    return given, other, weight_diff(weighed(given).weights, weighed(other).weights)


def _estimated(given: Given, profile: ScoringProfile, size: int, seed: int) -> Spread:
    rounds = sorted(given.rows.scores["challenge_id"].unique())
    asked = dict(given.rows.scores.group_by("hotkey").len().iter_rows())
    part = scaled(replace(given, rows=of_rounds(given.rows, drawn(rounds, size, seed))), size / len(rounds))
    before, after, diff = _both(part, profile)
    return spread(before, earnings_again(before), after, earnings_again(after), diff, asked, Draw(len(rounds), seed))


def test_whom_a_sample_hardly_has_is_not_judged_by_it() -> None:
    asked = {HOTKEYS[0]: 9, HOTKEYS[1]: 9, HOTKEYS[2]: 1, HOTKEYS[3]: 1}
    assert unjudged(asked, {HOTKEYS[0]: 2, HOTKEYS[1]: 1, HOTKEYS[2]: 1}) == (HOTKEYS[1], HOTKEYS[3])


def test_what_asks_for_a_number_of_rounds_asks_a_sample_for_its_part(world: World) -> None:
    given = given_of(world.store.tables, newest(world))
    tenth = scaled(given, 0.1)
    assert tenth.terms.rule.full_evidence_rounds == pytest.approx(given.terms.rule.full_evidence_rounds / 10)
    assert tenth.inputs.policy.min_evidence_rounds == tenth.inputs.policy.min_rounds == 1


@pytest.mark.slow
def test_rounds_that_cannot_be_scored_make_all_of_them_incomplete_and_no_sample(world: World) -> None:
    tables = world.store.tables
    key, _ = next(iter(tables.each("embeddings", tables.days("embeddings")[0])))
    tables.remove("embeddings", key)
    found = tried(world, "young_stop_weight=0.9", effort=Effort(15, full=True, processes=1))
    assert (found.how, found.exact, found.spread) == (How.INCOMPLETE, False, None)
    assert found.before.earned.rounds == found.after.earned.rounds == ROUNDS - 1
    assert len(found.unscorable) == 1


def test_a_lookback_beyond_what_is_stored_is_not_exact(world: World) -> None:
    beyond = tried(world, "lookback=168h")
    assert not beyond.exact
    assert "scores are stored from" in beyond.short
    shorter = tried(world, "lookback=2h")
    assert shorter.exact
    assert (shorter.before.earned.rounds, shorter.short) == (ROUNDS, "")
    assert 0 < shorter.after.earned.rounds < ROUNDS
    with pytest.raises(ConfigError, match="too long a lookback"):
        tried(world, "lookback=500h")


def test_a_longer_lookback_pays_no_canary(
    own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rounds are from before the epoch's own lookback."""
    world = validator(instance, monkeypatch)
    tables, engine = world.store.tables, world.store.inbox.engine
    day = tables.days(SCORES)[0]
    keys = sorted({key.name.partition(".")[0]: key for key, _ in tables.each(SCORES, day)}.items())[:3]
    with engine.begin() as connection:
        for _, key in keys:
            name = ChallengeId(tables.read(SCORES, key)["challenge_id"][0])
            mark(connection, name, CanaryMark([{"number": 42}], "a" * 64), world.store.inbox.get(name).received_at)
            for asset in (SCORES, PAIRS):
                tables.remove(asset, key)
    score(world, ROBUST)
    monkeypatch.setenv("EMISSIONS_LOOKBACK_H", "2")
    get_settings.cache_clear()
    assert world.set_weights().success
    found = tried(world, "lookback=24h")
    assert found.before.earned.rounds < found.after.earned.rounds == ROUNDS - len(keys)


@pytest.mark.parametrize(
    ("pairs", "how", "said"),
    [
        (["max_change=0.1"], {}, "max_change has no effect here: it acts in the checks alone"),
        (["min_miners=9"], {}, "min_miners has no effect here"),
        (["max_flagged_share=0.1"], {}, "max_flagged_share has no effect here"),
        (["mixed_scorers=true"], {}, "mixed_scorers has no effect here"),
        (["min_rounds=9"], {}, "min_rounds has no effect here: it acts in taking over"),
        (["emergency_uniform=true"], {}, "it acts in an emergency, and the mode is normal"),
        ([], {"no_sybil": True}, "--no-sybil has no effect here: nothing that the Challenge API said is on record"),
    ],
)
def test_what_does_nothing_here_is_told(world: World, pairs: list[str], how: dict[str, object], said: str) -> None:
    found = tried(world, *pairs, **how)
    assert found.diff.total_variation == 0.0
    assert [each for each in found.without_effect if said in each]


def test_what_the_networks_method_has_none_of_is_told(world: World) -> None:
    score(world, profile_of("network"))
    found = tried(world, "lookback=2h", "half_life=1", "entity_cap=0.1", profile="network")
    assert [each.partition(" ")[0] for each in found.without_effect] == ["half_life_h", "lookback_h", "entity_cap"]
    plain = tried(world, profile="network")
    assert found.after.weights == plain.after.weights, "they do nothing indeed"


def test_what_acts_is_not_said_to_do_nothing(world: World) -> None:
    assert tried(world, "half_life=1", "max_share=0.088").without_effect == ()


def test_a_cap_that_nobody_reaches_is_said_to_change_nobody(world: World) -> None:
    found = tried(world, "entity_cap=0.9")
    assert found.diff.total_variation == 0.0
    assert [each.startswith("changes nobody here") for each in found.without_effect] == [True]
    assert "no entity of several hotkeys earns more than max(entity_cap=0.9" in found.without_effect[0]


def test_a_check_that_would_hold_it_up_is_told(world: World) -> None:
    assert tried(world).held_up == ()
    found = tried(world, f"min_miners={len(HOTKEYS) + 1}")
    assert [each.partition(":")[0] for each in found.held_up] == ["enough_miners"]


def test_weights_that_rest_on_nothing_earned_say_so(world: World) -> None:
    found = tried(world, "lookback=1m")
    assert found.after.proposal.basis == "nothing"
    assert found.vtrust is None
    assert any("basis nothing" in each for each in found.notes)


def test_leaving_out_says_by_what_contexts(world: World) -> None:
    assert any("contexts as they were" in each for each in tried(world, left_out=[HOTKEYS[0]]).notes)


def test_nobody_is_suspected_without_sybils(world: World) -> None:
    epoch = newest(world)
    scores = {Hotkey(HOTKEYS[1]): 0.9}
    view = NetworkView(epoch.inputs.at - timedelta(minutes=5), frozenset({epoch.inputs.own}), scores, {})
    world.store.save_network_view(view)
    world.chain.advance(400)
    assert world.set_weights(config={"waive": ["change"]}).success
    struck = tried(world)
    found = tried(world, no_sybil=True)
    assert struck.differing == found.differing == ()
    assert [(act.rule, act.hotkey) for act in found.acts] == [("sybil_penalty", HOTKEYS[1])]


def test_rows_that_were_changed_since_are_told(world: World) -> None:
    tables = world.store.tables
    key, frame = next(iter(tables.each(SCORES, tables.days(SCORES)[0])))
    tables.write(SCORES, key, frame.with_columns(relevance=pl.col("relevance") * 0.5))
    found = tried(world)
    assert any("emissions" in each for each in found.differing)
    tables.remove(SCORES, key)


def test_an_epoch_without_its_records_is_refused(world: World) -> None:
    epoch = newest(world)
    assert epoch.found.emissions is not None
    world.store.tables.remove("emission_terms", epoch.found.emissions)
    with pytest.raises(StoreError, match="not on record"):
        newest(world)
    with pytest.raises(UnknownEpoch, match="there is no epoch '77'"):
        recorded_epoch(world.store.inbox.engine, world.store.tables, "77")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["halflife=6"], "there is no such name. Emissions: half_life_h, full_evidence_rounds"),
        (["half_life"], "write it like --set half_life=6"),
        (["half_life=0"], "half_life=0"),
        (["lookback=1.2.3h"], "lookback=1.2.3h"),
        (["half_life=6", "EMISSIONS_HALF_LIFE_H=7"], "given twice"),
        (["entity_cap=2"], "less than or equal to 1"),
        (["power=x"], "no number"),
        (["degraded_at=0.95"], "exceeds emergency_at"),
        (["burn_share=0.5"], "both burn_hotkey and burn_share"),
        (["power=-1"], "cannot be negative"),
        (["quality_threshold=0.1"], "no such name"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(world: World, pairs: Sequence[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tried(world, *pairs)


def test_strangers_cannot_be_left_out(world: World) -> None:
    with pytest.raises(ConfigError, match="no such hotkey was asked"):
        tried(world, left_out=["5Nobody"])
    with pytest.raises(ConfigError, match="this validator itself"):
        tried(world, left_out=[newest(world).inputs.own])
    with pytest.raises(ConfigError, match="no scoring profile"):
        tried(world, profile="best")


def test_every_field_of_rule_and_policy_has_its_setting() -> None:
    assert set(RULE) == {each.name for each in fields(EmissionRule)}
    assert set(POLICY) == {each.name for each in fields(Policy)}
    assert {*RULE.values(), *POLICY.values()} <= set(Settings.model_fields)
    settings = Settings()
    assert policy_of(settings) == Policy(**{name: getattr(settings, setting) for name, setting in POLICY.items()})
    assert set(SHORT.values()) <= {*RULE, *POLICY}


def test_no_name_means_two_things() -> None:
    for profile in PROFILES.values():
        own = {each.name for each in fields(profile)}
        assert own.isdisjoint({*RULE, *POLICY, *RULE.values(), *POLICY.values(), *SHORT})


def test_nothing_asked_for_is_nothing() -> None:
    assert not Changes()
    assert Changes().said() == "nothing"
    assert changes(["lookback=90m"], RobustProfile()).policy == {"lookback_h": 1.5}


def test_a_sample_is_without_replacement_and_by_its_seed() -> None:
    rounds = [f"c-{number:03d}" for number in range(100)]
    assert drawn(rounds, 10, 1) == drawn(rounds, 10, 1) != drawn(rounds, 10, 2)
    assert len(set(drawn(rounds, 10, 1))) == 10
    assert drawn(rounds, 200, 1) == rounds

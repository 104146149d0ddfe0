"""Two scorers on every round: one pays, the other only tells what paying otherwise would change."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.emissions import aggregate
from loosh_pipeline.payouts import paid_of, payouts_of
from loosh_pipeline.scorers import clipping_warning
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import emissions_of
from resources.duckdb import tables_duckdb
from tests.world import ANSWERS, MODEL_DIGEST, World, failure_of, metadata_of

ROBUST, NETWORK = RobustProfile(), NetworkProfile()


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    return monkeypatch


@pytest.fixture
def paid_by_network(both: pytest.MonkeyPatch) -> None:
    both.setenv("PAY_PROFILE", "network")
    get_settings.cache_clear()


def evaluated(world: World, *names: str) -> list[ChallengeId]:
    ids = [world.accept(name) for name in names]
    for challenge_id in ids:
        assert world.evaluate(challenge_id).success
    return ids


def logged(result: dg.ExecuteInProcessResult, world: World) -> list[str]:
    records = world.instance.all_logs(result.run_id)
    return [record.user_message for record in records if record.level == 30]


def weights_of(world: World, table: str, profile: ScoringProfile) -> dict[str, float]:
    frame = world.store.tables.latest(table)
    assert frame is not None
    return {row["hotkey"]: row["weight"] for row in frame.iter_rows(named=True) if row["profile"] == profile.name}


def test_alone_a_profile_casts_no_shadow(world: World) -> None:
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)
    said = metadata_of(result, "shadow_scores")["profiles"]
    assert said == "none: SCORING_PROFILES names only the one that pays"
    assert not world.store.tables.exists("consensus_scores", world.scores_key(challenge_id, NETWORK))
    set_ = world.set_weights("emissions", "shadow_emissions")
    assert metadata_of(set_, "emissions")["warning"] == "none"
    assert metadata_of(set_, "shadow_emissions")["cost"].startswith("none")
    assert world.store.tables.latest("shadow_emissions") is None


@pytest.mark.usefixtures("both")
def test_the_shadow_is_stored_beside_what_pays_and_decides_nothing(world: World) -> None:
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)

    version = scorer_version(NETWORK, MODEL_DIGEST)
    assert metadata_of(result, "shadow_scores")["profiles"] == f"network ({version})"
    assert metadata_of(result, "consensus_scores")["profile"] == "robust"
    robust, network = world.scores(challenge_id, ROBUST), world.scores(challenge_id, NETWORK)
    assert (robust.profile, network.profile) == ("robust", "network")
    assert [score.hotkey for score in network.scores] == [score.hotkey for score in robust.scores] == list(ANSWERS)
    assert [score.measure for score in network.scores] == [score.measure for score in robust.scores]
    assert network.pairs == robust.pairs
    (batch,) = world.api.calls
    assert batch["evaluation"]["emissions"] == {score.hotkey: score.payout for score in robust.scores}
    assert "with an emission of" not in _narrative(world, challenge_id)


@pytest.mark.usefixtures("paid_by_network")
def test_paid_by_the_network_the_payouts_are_its_emissions(world: World) -> None:
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)

    assert result.success
    assert metadata_of(result, "consensus_scores")["profile"] == "network"
    assert metadata_of(result, "shadow_scores")["profiles"].startswith("robust (")
    scores = world.scores(challenge_id)
    emissions = {s.hotkey: s.measure.emission if s.measure else 0.0 for s in scores.scores}
    assert {s.hotkey: s.payout for s in scores.scores} == emissions
    assert [emission > 0 for emission in emissions.values()] == [True, True, True, False]
    assert scores.measure is not None
    shadow = world.scores(challenge_id, ROBUST)
    assert {s.hotkey: s.measure.emission for s in shadow.scores if s.measure} == {
        hotkey: emission for hotkey, emission in emissions.items() if emission
    }
    (batch,) = world.api.calls
    assert batch["evaluation"]["emissions"] == emissions
    assert batch["evaluation"]["consensus_score"] == scores.measure.consensus_score
    assert (world.settings.heatmaps_root / "c-1.png").read_bytes().startswith(b"\x89PNG")
    spec = json.loads((world.settings.heatmaps_root / "c-1.json").read_text())
    assert f"consensus {scores.measure.consensus_score:.2f} = mean" in json.dumps(spec)
    best = max(emissions, key=lambda hotkey: emissions[hotkey])
    assert f"**uid {best[-1]}** with an emission of {emissions[best]:.2f}" in _narrative(world, challenge_id)


def _narrative(world: World, challenge_id: ChallengeId) -> str:
    return str(world.store.tables.read("narratives", world.partition(challenge_id).key)["text"][0])


@pytest.mark.usefixtures("both")
def test_the_cost_of_paying_unlike_the_others_is_told_and_logged(world: World) -> None:
    evaluated(world, "c-1", "c-2")
    result = world.set_weights("emissions", "shadow_emissions")

    own, others = weights_of(world, "emissions", ROBUST), weights_of(world, "shadow_emissions", NETWORK)
    assert set(own) == set(others) == set(ANSWERS)
    assert sum(others.values()) == pytest.approx(1.0)
    assert own != pytest.approx(others)
    cost = clipping_warning(own, "robust", others, "network")
    told = metadata_of(result, "emissions")
    assert told["profile"] == "robust"
    assert "profile network runs on the embedding model 'builtin'" in told["warning"]
    assert metadata_of(result, "shadow_emissions")["cost"] == cost
    assert logged(result, world) == [told["warning"], cost]
    assert set(weights_of(world, "shadow_emissions", ROBUST)) == set(), "what pays is no shadow"


@pytest.mark.usefixtures("paid_by_network")
def test_paid_by_the_network_weights_follow_its_average_and_the_robust_one_looks_on(world: World) -> None:
    first, second = evaluated(world, "c-1", "c-2")
    result = world.set_weights()

    assert result.success
    paid = [{s.hotkey: s.payout for s in world.scores(each).scores} for each in (first, second)]
    pay = 0.3
    averages = {h: pay * paid[1][h] + (1 - pay) * paid[0][h] for h in ANSWERS if paid[0][h]}
    total = sum(averages.values())
    own = weights_of(world, "emissions", NETWORK)
    assert own == pytest.approx({h: averages.get(h, 0.0) / total for h in ANSWERS})
    assert metadata_of(result, "emissions")["one_source"] == "none"
    assert world.store.tables.latest("settled_scores") is None, "the network settles no window"
    assert set(weights_of(world, "shadow_emissions", ROBUST)) == set(ANSWERS)
    (plan,) = world.chain.submitted
    assert plan.weights == pytest.approx({uid: own[f"hotkey-{uid}"] for uid in (1, 2, 3)})


@pytest.mark.usefixtures("both")
def test_a_shadow_that_fails_costs_its_rows_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ValueError("no such signal")

    monkeypatch.setattr("loosh_pipeline.scoring.score.score_network_round", broken)
    challenge_id = world.accept()
    result = world.evaluate(challenge_id, raise_on_error=False)
    assert [event.step_key for event in result.all_events if event.is_step_failure] == ["shadow_scores"]
    assert "no such signal" in failure_of(result)
    assert len(world.api.calls) == 1
    assert world.set_weights("emissions").success
    assert set(weights_of(world, "emissions", ROBUST)) == set(ANSWERS)


@pytest.mark.usefixtures("both")
def test_weights_do_not_wait_for_a_shadow_that_cannot_be_aggregated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ValueError("no average of that")

    evaluated(world, "c-1")
    monkeypatch.setattr("loosh_pipeline.emissions.moving_averages", broken)
    result = world.set_weights(raise_on_error=False)
    assert [event.step_key for event in result.all_events if event.is_step_failure] == ["shadow_emissions"]
    assert "no average of that" in failure_of(result)
    (plan,) = world.chain.submitted
    assert set(plan.weights) == {1, 2, 3}


@pytest.mark.usefixtures("both")
def test_what_is_settled_is_stored_and_sums_to_what_emissions_say(world: World) -> None:
    ids = evaluated(world, "c-1", "c-2", "c-3")
    world.set_weights("emissions")

    settled = world.store.tables.latest("settled_scores")
    emissions = {each.hotkey: each for each in emissions_of(world.store.tables.latest("emissions"))}
    assert settled is not None
    assert set(settled["challenge_id"]) == set(ids)
    payouts: dict[ChallengeId, dict[str, float]] = {}
    for row in settled.iter_rows(named=True):
        payouts.setdefault(row["challenge_id"], {})[row["hotkey"]] = row["payout"]
    for hotkey, emission in emissions.items():
        total = sum(paid.get(hotkey, 0.0) for paid in payouts.values())
        assert emission.asked == 3
        assert emission.mean_payout == pytest.approx(total / 3, rel=1e-4), "rounds of one minute count alike"
        assert emission.emission == pytest.approx(emission.mean_payout, rel=1e-4), "asked as often as can be"
    with tables_duckdb().get_connection() as connection:
        since = world.partition(ids[0]).row.received_at - timedelta(hours=1)
        paid = payouts_of(world.store.score_tables.window_rows(connection, ROBUST, since), ROBUST).paid
    assert tuple(emissions.values()) == aggregate(paid_of(paid), {})
    assert paid.height == 3 * len(emissions)


@pytest.mark.usefixtures("both")
def test_shadows_scored_again_are_the_same_bytes(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    paths = [
        Path(world.store.tables.path(asset, world.scores_key(challenge_id, NETWORK)))
        for asset in ("consensus_scores", "pair_evidence")
    ]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    world.evaluate(challenge_id, "shadow_scores")
    assert [path.read_bytes() for path in paths] == before

"""Stored challenges scored again: what a page shows, what is written, and that what is tried never pays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.emissions import paid_over
from loosh_pipeline.definitions import defs
from loosh_pipeline.domain import ChallengeId, Mode
from loosh_pipeline.following import challenge_facts
from loosh_pipeline.orchestrator import CHALLENGES, RESCORE_DAY_JOB, RESCORE_JOB, RESCORED
from loosh_pipeline.scoring import profile as profile_module
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store import score_tables as score_tables_module
from loosh_pipeline.store.score_tables import PAIRS, SCORERS, SCORES, TRIED
from resources.duckdb import tables_duckdb
from tests.world import MODEL_DIGEST, World, failure_of, metadata_of

TODAYS = RobustProfile()
TRIED_GATE = {"relevance_gate": 0.9}
"""Under it nearly nobody is paid."""


def rescore(world: World, *ids: str, config: Mapping[str, Any] | None = None, **how: Any) -> dg.ExecuteInProcessResult:
    """Materialize `rescored_scores` for one challenge, or for a range from the first to the second."""
    tags = {}
    if len(ids) == 2:
        tags = {"dagster/asset_partition_range_start": ids[0], "dagster/asset_partition_range_end": ids[1]}
    where = {"tags": tags} if tags else {"partition_key": ids[0]}
    return run(world, RESCORE_JOB, config, **where, **how)


def run(world: World, job: str, config: Mapping[str, Any] | None, **how: Any) -> dg.ExecuteInProcessResult:
    wired = dg.Definitions(assets=defs.assets, jobs=defs.jobs, resources=world.resources())
    asset = RESCORED if job == RESCORE_JOB else "rescored_days"
    given = {"ops": {asset: {"config": dict(config or {})}}}
    return wired.resolve_job_def(job).execute_in_process(instance=world.instance, run_config=given, **how)


def evaluated(world: World, *names: str) -> list[ChallengeId]:
    ids = [world.accept(name) for name in names]
    for challenge_id in ids:
        assert world.evaluate(challenge_id).success
    return ids


def stored(world: World, challenge_id: ChallengeId, profile: ScoringProfile) -> pl.DataFrame:
    return world.store.tables.read(SCORES, world.scores_key(challenge_id, profile))


def paid(world: World) -> pl.DataFrame:
    """What emissions are made of."""
    with tables_duckdb().get_connection() as connection:
        since = datetime.now(UTC) - timedelta(hours=12)
        return world.store.score_tables.window_rows(connection, TODAYS, since).scores.sort("challenge_id", "hotkey")


def test_a_challenge_is_scored_again_by_what_pays_and_nothing_is_written_twice(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    path = Path(world.store.tables.path(SCORES, world.scores_key(challenge_id)))
    before = path.stat().st_mtime_ns
    asked = list(world.miners.asked)
    said = metadata_of(rescore(world, challenge_id), RESCORED)
    assert (said["profile"], said["parameters"]) == ("robust", "today's")
    assert said["scorer_version"] == said["against"] == scorer_version(TODAYS, MODEL_DIGEST)
    assert (said["moved"], said["rank_correlation"], said["paid"]) == (0.0, pytest.approx(1.0), 3)
    assert said["written"].startswith("no")
    assert path.stat().st_mtime_ns == before
    assert world.miners.asked == asked, "nobody is asked"
    assert not world.store.tables.days(TRIED)


def test_pairs_that_went_missing_come_back(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    path = Path(world.store.tables.path(PAIRS, world.scores_key(challenge_id)))
    before = path.read_bytes()
    path.unlink()
    assert metadata_of(rescore(world, challenge_id), RESCORED)["written"] == "yes"
    assert path.read_bytes() == before


def test_other_parameters_are_tried_and_never_pay(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    before, facts = paid(world), challenge_facts(get_settings(), world.store.inbox, challenge_id)
    said = metadata_of(rescore(world, challenge_id, config={"parameters": TRIED_GATE}), RESCORED)
    assert said["counts_for_pay"].startswith("never")
    assert said["parameters"] == "relevance_gate=0.9"
    assert said["moved"] > 0
    assert stored(world, challenge_id, RobustProfile(relevance_gate=0.9))["payout"].sum() == 0
    assert paid(world).equals(before)
    assert challenge_facts(get_settings(), world.store.inbox, challenge_id) == facts
    assert [key.version for key in world.store.tables.newest_first(SCORERS)] == [""]


def test_what_was_tried_does_not_pay_where_it_is_all_there_is_of_today(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that was paid by older parameters, and tried under others since: the older ones count."""
    older = RobustProfile(power=5.0)
    (challenge_id,) = evaluated(world, "c-1")
    rows = stored(world, challenge_id, TODAYS)
    for asset in (SCORES, PAIRS):
        world.store.tables.remove(asset, world.scores_key(challenge_id, TODAYS))
    result = _as(rows, scorer_version(older, MODEL_DIGEST))
    world.store.score_tables.note_scorer(older, MODEL_DIGEST)
    world.store.tables.write(SCORES, world.scores_key(challenge_id, older), result)
    rescore(world, challenge_id, config={"parameters": TRIED_GATE})
    assert set(paid(world)["scorer_version"]) == {scorer_version(older, MODEL_DIGEST)}
    newest = world.store.score_tables.newest_rows(world.partition(challenge_id).key, "robust")
    assert newest is not None
    assert newest.equals(result)


def _as(rows: pl.DataFrame, version: str) -> pl.DataFrame:
    return rows.with_columns(scorer_version=pl.lit(version))


def test_what_was_only_tried_pays_nobody(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    for asset in (SCORES, PAIRS):
        world.store.tables.remove(asset, world.scores_key(challenge_id, TODAYS))
    said = metadata_of(rescore(world, challenge_id, config={"parameters": TRIED_GATE}), RESCORED)
    assert said["against"] == "nothing that paid"
    assert paid(world).is_empty()
    assert world.store.score_tables.newest_rows(world.partition(challenge_id).key, "robust") is None
    with tables_duckdb().get_connection() as connection:
        payouts, emissions = _emissions(world, connection)
    assert not payouts.rounds
    assert not emissions


def _emissions(world: World, _: object) -> Any:
    settings = get_settings()
    return paid_over(world.store, tables_duckdb(), TODAYS, settings, datetime.now(UTC), 12.0, Mode.NORMAL)


def test_what_was_tried_counts_once_its_parameters_are_what_pays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    rescore(world, challenge_id, config={"parameters": TRIED_GATE})
    tomorrow = RobustProfile(**TRIED_GATE)
    since = datetime.now(UTC) - timedelta(hours=12)
    with tables_duckdb().get_connection() as connection:
        rows = world.store.score_tables.window_rows(connection, tomorrow, since).scores
    assert set(rows["scorer_version"]) == {scorer_version(tomorrow, MODEL_DIGEST)}
    assert rows["payout"].sum() == 0
    # After a later change they are again what was tried, and not what paid.
    with tables_duckdb().get_connection() as connection:
        rows = world.store.score_tables.window_rows(connection, RobustProfile(power=4.0), since).scores
    assert set(rows["scorer_version"]) == {scorer_version(TODAYS, MODEL_DIGEST)}


def test_a_version_that_paid_once_and_is_tried_again_comes_after_what_was_never_tried(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    once, tables = RobustProfile(power=5.0), world.store.score_tables
    tables.note_scorer(once, MODEL_DIGEST)  # it came into use after what pays the round
    rescore(world, challenge_id, config={"parameters": {"power": 5}})
    versions = [scorer_version(each, MODEL_DIGEST) for each in (once, TODAYS)]
    assert tables.counting(versions, RobustProfile(power=4.0)) == versions[::-1]
    assert tables.counting(versions) == versions[::-1]


def test_code_that_was_changed_since_makes_a_version_that_was_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    rescore(world, challenge_id, config={"parameters": TRIED_GATE})
    for module in (profile_module, score_tables_module):
        monkeypatch.setattr(module, "CODE_VERSION", 99)
    tables = world.store.score_tables
    (tried,) = (key.name for key in world.store.tables.newest_first(TRIED))
    assert tables.counting([tried], RobustProfile(**TRIED_GATE)) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"profile": "best"}, "there is no scoring profile 'best'; there are robust, network"),
        ({"parameters": {"gate": 1}}, "has no parameter gate; it has alike_high"),
        ({"parameters": {"power": "six"}}, "profile parameter power is 'six'; give a finite number"),
        ({"parameters": {"power": -1}}, "power is -1; it cannot be negative"),
        ({"parameters": {"power": True}}, "profile parameter power is True; give a finite number"),
        ({"parameters": {"alike_low": 0.9}}, "alike_low (0.9) must be below alike_high (0.85)"),
        ({"profile": "network", "parameters": {"outlier_neighbours": 1.5}}, "give a whole number"),
    ],
)
def test_wrong_config_is_refused(world: World, config: dict[str, Any], said: str) -> None:
    world.accept("c-1")
    world.instance.add_dynamic_partitions(CHALLENGES, ["c-1"])
    result = rescore(world, "c-1", config=config, raise_on_error=False)
    assert not result.success
    assert said in failure_of(result)


def test_numbers_that_count_may_come_as_floats(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    config = {"profile": "network", "parameters": {"min_sentence_words": 4.0}}
    said = metadata_of(rescore(world, challenge_id, config=config), RESCORED)
    network = profile_of("network", {"min_sentence_words": 4})
    assert said["scorer_version"] == scorer_version(network, MODEL_DIGEST)
    assert "unscorable" not in said


def test_both_profiles_say_what_the_evaluation_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    (challenge_id,) = evaluated(world, "c-1")
    for name in ("robust", "network"):
        said = metadata_of(rescore(world, challenge_id, config={"profile": name}), RESCORED)
        assert said["written"].startswith("no"), name
        assert said["counts_for_pay"].startswith("as a scoring")


def test_a_range_is_one_run_with_figures_for_each(world: World) -> None:
    ids = evaluated(world, "c-1", "c-2", "c-3")
    result = rescore(world, ids[0], ids[-1], config={"parameters": TRIED_GATE})
    events = {each.partition: each.materialization.metadata for each in result.get_asset_materialization_events()}
    assert set(events) == set(ids)
    assert all(metadata["moved"].value > 0 for metadata in events.values())
    assert {metadata["all"].value["rescored"] for metadata in events.values()} == {3}


def test_what_cannot_be_scored_says_why_and_stops_nobody(world: World) -> None:
    ids = evaluated(world, "c-1", "c-2", "c-3")
    ids.append(world.accept("c-4"))
    world.instance.add_dynamic_partitions(CHALLENGES, ["c-4", "c-5"])
    Path(world.store.tables.path("embeddings", world.partition(ids[1]).key)).write_bytes(b"no table")
    result = rescore(world, ids[0], "c-5")
    events = {each.partition: each.materialization.metadata for each in result.get_asset_materialization_events()}
    said = {name: metadata["unscorable"].value for name, metadata in events.items() if "unscorable" in metadata}
    assert set(said) == {"c-2", "c-4", "c-5"}
    assert "is no readable table" in said["c-2"]
    assert said["c-4"] == "no table miner_responses"
    assert said["c-5"] == "no such challenge was accepted"
    assert "moved" in events["c-3"]


def test_a_day_tells_of_the_challenges_that_dagster_still_shows(world: World) -> None:
    ids = evaluated(world, "c-1", "c-2", "c-3")
    world.instance.delete_dynamic_partition(CHALLENGES, ids[1])
    Path(world.store.tables.path("embeddings", world.partition(ids[2]).key)).unlink()
    day = world.partition(ids[0]).row.received_at.date().isoformat()
    result = run(world, RESCORE_DAY_JOB, {"parameters": TRIED_GATE}, partition_key=day)
    events = {
        (each.asset_key.to_user_string(), each.partition): each for each in result.get_asset_materialization_events()
    }
    assert set(events) == {(RESCORED, ids[0]), ("rescored_days", day)}
    said = {name: value.value for name, value in events["rescored_days", day].materialization.metadata.items()}
    assert (said["rescored"], said["written"], said["unscorable"], said["shown_by_dagster"]) == (2, 2, 1, 1)
    assert said["reasons"] == {"no table embeddings": 1}
    assert said["unscorable_list"] == "c-3: no table embeddings"
    assert set(said["most_changed"]) == {ids[0], ids[1]}
    assert said["moved_mean"] > 0
    assert stored(world, ids[1], RobustProfile(**TRIED_GATE)).height == 4, "what was pruned is scored alike"


def test_the_evaluation_does_not_score_again(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    key = dg.AssetKey(RESCORED)
    assert world.instance.get_materialized_partitions(key) == set()
    rescore(world, challenge_id)
    assert world.instance.get_materialized_partitions(key) == {challenge_id}

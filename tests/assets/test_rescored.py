"""Stored challenges scored again: what a page shows, what is written, and that what is tried never pays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from loosh_pipeline.definitions import defs
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.following import challenge_facts
from loosh_pipeline.orchestrator import CHALLENGES, RESCORE_DAY_JOB, RESCORE_JOB, RESCORED
from loosh_pipeline.paying import earned_over
from loosh_pipeline.rescoring import wanted
from loosh_pipeline.retention.restoring import ScoresOfDays
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.score_tables import PAIRS, SCORERS, SCORES, TRIED_SCORERS, TRIED_SCORES
from loosh_pipeline.store.tables import TableKey
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


def tried(world: World, challenge_id: ChallengeId, profile: ScoringProfile) -> pl.DataFrame:
    return world.store.tables.read(TRIED_SCORES, world.scores_key(challenge_id, profile))


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
    assert (said["round_pay_moved"], said["rank_correlation"], said["paid"]) == (0.0, pytest.approx(1.0), 3)
    assert said["written"].startswith("no")
    assert path.stat().st_mtime_ns == before
    assert world.miners.asked == asked, "nobody is asked"
    assert not world.store.tables.days(TRIED_SCORERS)


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
    assert said["round_pay_moved"] > 0
    assert tried(world, challenge_id, RobustProfile(relevance_gate=0.9))["payout"].sum() == 0
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
    newest = world.store.score_tables.newest_rows(world.partition(challenge_id).key, TODAYS)
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
    assert world.store.score_tables.newest_rows(world.partition(challenge_id).key, TODAYS) is None
    with tables_duckdb().get_connection() as connection:
        found = earned_over(world.store.tables, connection, TODAYS, EmissionRule(), datetime.now(UTC), 12.0)
    assert not found.payouts.rounds
    assert not found.emissions


def test_what_was_tried_counts_once_it_is_scored_again_by_what_pays_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    rescore(world, challenge_id, config={"parameters": TRIED_GATE})
    tomorrow = RobustProfile(**TRIED_GATE)
    since = datetime.now(UTC) - timedelta(hours=12)
    window, key = world.store.score_tables.window_rows, world.partition(challenge_id).key
    with tables_duckdb().get_connection() as connection:
        assert set(window(connection, tomorrow, since).scores["scorer_version"]) == {version_of(TODAYS)}
    rows = tried(world, challenge_id, tomorrow)
    with monkeypatch.context() as patch:  # as a release does whose defaults these are
        patch.setattr(wanted, "profile_of", lambda name, given=None: tomorrow)
        rescore(world, challenge_id)
    assert stored(world, challenge_id, tomorrow).equals(rows)
    with tables_duckdb().get_connection() as connection:
        assert set(window(connection, tomorrow, since).scores["scorer_version"]) == {version_of(tomorrow)}
    newest = world.store.score_tables.newest_rows(key, tomorrow)
    assert newest is not None
    assert newest.equals(rows)


def version_of(profile: ScoringProfile) -> str:
    return scorer_version(profile, MODEL_DIGEST)


def test_planning_pages_and_restoring_choose_the_same_version(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    key, scores = world.partition(challenge_id).key, world.store.score_tables
    rows, later, other = stored(world, challenge_id, TODAYS), RobustProfile(power=5.0), profile_of("network")
    for profile in (later, other):
        scores.note_scorer(profile, MODEL_DIGEST)
        world.store.tables.write(SCORES, world.scores_key(challenge_id, profile), _as(rows, version_of(profile)))
    world.store.tables.write(SCORES, TableKey(key.day, key.name, "f" * 12), _as(rows, "f" * 12))  # nobody knows of it
    since = datetime.now(UTC) - timedelta(hours=12)
    for profile, counts in ((TODAYS, TODAYS), (later, later), (RobustProfile(power=4.0), later)):
        with tables_duckdb().get_connection() as connection:
            window = scores.window_rows(connection, profile, since).scores
        newest = scores.newest_rows(key, profile)
        assert newest is not None
        chosen = {*window["scorer_version"], *newest["scorer_version"]}
        assert chosen == {version_of(counts)}
        assert ScoresOfDays(world.store.tables, profile).version_of(key) == version_of(counts)


def test_a_profile_that_does_not_run_here_is_tried(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    said = metadata_of(rescore(world, challenge_id, config={"profile": "network"}), RESCORED)
    assert said["counts_for_pay"].startswith("never")
    network = profile_of("network")
    assert tried(world, challenge_id, network).height == 4
    assert not world.store.tables.exists(SCORES, world.scores_key(challenge_id, network))


def test_rows_that_differ_are_told_of_and_stay(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    rows = stored(world, challenge_id, TODAYS)
    twice = rows.with_columns(payout=rows["payout"] * 2)
    world.store.tables.write(SCORES, world.scores_key(challenge_id), twice)
    said = metadata_of(rescore(world, challenge_id), RESCORED)
    assert (said["differs"], said["written"]) == ("payout", "no: the stored rows of this version differ, and stay")
    day = world.partition(challenge_id).key.day.isoformat()
    figures = metadata_of(run(world, RESCORE_DAY_JOB, {}, partition_key=day), "rescored_days")
    assert (figures["differs"], figures["written"], figures["replaced"]) == (1, 0, 0)
    assert stored(world, challenge_id, TODAYS).equals(twice)
    figures = metadata_of(run(world, RESCORE_DAY_JOB, {"replace": True}, partition_key=day), "rescored_days")
    assert (figures["differs"], figures["written"], figures["replaced"]) == (0, 1, 1)
    assert stored(world, challenge_id, TODAYS).equals(rows)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"profile": "best"}, "there is no scoring profile 'best'; there are robust, network"),
        ({"parameters": {"gate": 1}}, "has no parameter gate; it has alike_high"),
        ({"parameters": {"power": "six"}}, "profile parameter power is 'six'; give a finite number"),
        ({"parameters": {"power": -1}}, "power is -1; it cannot be negative"),
        ({"parameters": {"power": True}}, "profile parameter power is True; give a finite number"),
        ({"parameters": {"blatant_low": 0.98}}, "blatant_low (0.98) must be below blatant_high (0.97)"),
        ({"parameters": {"track_passes": 3}}, "track_passes of profile 'robust' acts on a window of rounds"),
        ({"parameters": {"power": 10**400}}, "power has 401 digits; give a number up to 1000"),
        ({"parameters": {"power": 1001}}, "power is 1001; it is at most 1000"),
        ({"profile": "network", "parameters": {"sigmoid_steepness": 1e5}}, "it is at most 500"),
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
    assert all(metadata["round_pay_moved"].value > 0 for metadata in events.values())
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
    assert "round_pay_moved" in events["c-3"]


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
    assert set(said["most_changed_rounds"]) == {ids[0], ids[1]}
    assert said["round_pay_moved_mean"] > 0
    assert tried(world, ids[1], RobustProfile(**TRIED_GATE)).height == 4, "what was pruned is scored alike"


def test_the_evaluation_does_not_score_again(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    key = dg.AssetKey(RESCORED)
    assert world.instance.get_materialized_partitions(key) == set()
    rescore(world, challenge_id)
    assert world.instance.get_materialized_partitions(key) == {challenge_id}


def test_rows_of_a_release_that_kept_no_digest_of_inputs_are_no_difference(world: World) -> None:
    (challenge_id,) = evaluated(world, "c-1")
    older = stored(world, challenge_id, TODAYS).drop("inputs_digest")
    world.store.tables.write(SCORES, world.scores_key(challenge_id), older)
    assert metadata_of(rescore(world, challenge_id), RESCORED)["written"] == "no: these rows were there"
    assert stored(world, challenge_id, TODAYS).equals(older)

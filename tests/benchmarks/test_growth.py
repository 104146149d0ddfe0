"""A generated past is what a validator leaves: it is read by the product, and its retention finds nothing to prune."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from benchmarks import history_runs
from benchmarks.growth import PAGES, Plan, planned, sizes_of
from benchmarks.history import Template, draw_pictures, fill_inbox, generate
from benchmarks.history_runs import Kept
from benchmarks.past import Past, settled
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.orchestrator import CHALLENGES, SCORE_JOB
from loosh_pipeline.retention.ages import Ages
from loosh_pipeline.retention.pruning import Pruner
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.acceptances import first_broken_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox, OutboxState
from loosh_pipeline.store.tables import TableKey, Tables
from tests.world import World

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
PAST = Past(40, 10.0, NOW)
"""Four days, of which the first are closed."""
KEPT = Kept(challenges=15, days=14.0, upkeep_days=0.25, weights_days=90.0)
NOTHING_PRUNED = Kept(challenges=10**6, days=10**4, upkeep_days=0.5, weights_days=10**4)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """Two rounds that really were, with the snapshots before them."""
    home = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOOSH_HOME", str(home))
        get_settings.cache_clear()
        (home / "dagster_home").mkdir()
        with instance_in(home) as instance:
            world = World(instance)
            world.refresh_metagraph()
            world.refresh_availability()
            for number in range(2):
                world.evaluate(world.accept(f"measured-{number:06d}"))
            world.store.close()
        yield Template.of(home)
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def home(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("generated") / "home"
    generate(template, home, PAST, processes=0)
    history_runs.generate(template, home, PAST, KEPT)
    return home


@pytest.fixture
def inbox(home: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{home / 'validator.db'}")
    yield inbox
    inbox.engine.dispose()


def instance_in(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(home / "dagster_home"))


def test_the_past_comes_evenly_until_now() -> None:
    assert PAST.at(39) == NOW - timedelta(hours=2.4)
    assert PAST.began == NOW - timedelta(days=4)
    assert PAST.first_since(NOW - timedelta(days=1)) == 30
    assert PAST.first_since(NOW - timedelta(days=99)) == 0
    times = list(PAST.times(timedelta(hours=6), NOW - timedelta(days=2)))
    assert (times[0], times[-1], len(times)) == (NOW - timedelta(days=2), NOW - timedelta(hours=6), 8)
    midnight = NOW.replace(hour=0, minute=0)
    assert sorted(PAST.within(timedelta(hours=6), midnight)) == [each for each in times if each >= midnight]


def test_every_challenge_is_in_the_inbox_and_was_told(inbox: Inbox) -> None:
    stats = inbox.stats()
    assert (stats.total, stats.queued) == (40, 0)
    row = inbox.get(ChallengeId(PAST.id(7)))
    assert (row.state, row.received_at) == (ChallengeState.SUBMITTED, PAST.at(7))
    assert row.challenge().id == PAST.id(7)
    assert Outbox(inbox.engine).counts()[OutboxState.DELIVERED] >= 40
    assert not Outbox(inbox.engine).has_due(NOW)


def test_challenges_are_a_chain_as_if_they_had_been_accepted(inbox: Inbox) -> None:
    followed = first_broken_of(inbox.engine, requests=True)
    assert (followed.links, followed.broken) == (40, None)


def test_tables_of_every_round_are_read_as_the_products_own(home: Path, template: Template) -> None:
    tables, real = Tables(str(home / "tables")), Tables(str(template.home / "tables"))
    for number in (0, 39):  # of a closed day, and of one that is not
        key = TableKey.of(PAST.id(number), PAST.at(number))
        old = template.rounds[number % 2]
        was = real.read("miner_responses", TableKey.of(old, template.received_at[old]))
        rows = tables.read("miner_responses", key)
        assert set(rows["challenge_id"]) == {PAST.id(number)}
        assert rows["text"].str.len_chars().equals(was["text"].str.len_chars())
        assert not rows["text"].equals(was["text"])
        assert rows.schema == was.schema
    assert tables.open_days("metagraph")[0] > tables.days("metagraph")[0]
    newest = tables.latest("metagraph")
    assert newest is not None
    assert newest["taken_at"][0] > NOW - timedelta(seconds=get_settings().metagraph_refresh_s * 2)


def test_windows_are_settled_with_all_rounds_of_the_lookback() -> None:
    rows = [("a", "x", 0.25, 1.0), ("a", "y", 0.75, 1.0), ("b", "x", 0.125, 1.0)]
    frame = pl.DataFrame(rows, ["challenge_id", "hotkey", "score", "trust"], orient="row")
    found = settled(frame, PAST, NOW - timedelta(days=1))
    assert sorted(set(found["challenge_id"])) == [PAST.id(number) for number in range(20, 30)]
    assert found.filter(pl.col("challenge_id") == PAST.id(20))["hotkey"].to_list() == ["x", "y"]
    assert found["score"].n_unique() == found.height == 15
    assert set(found["trust"]) == {1.0}
    assert settled(frame, PAST, PAST.began).is_empty()


def test_the_bound_that_retention_allows_is_among_the_homes(tmp_path: Path) -> None:
    plan = Plan((1000, 100_000), True, 274.0, 1, 1, 1, 1, 1, 1.0, 1.0, quick=False)
    few, many, live = planned(plan, tmp_path, NOW)
    assert (few.live, many.live, live.live) == (1000, 14 * 274, get_settings().retain_challenges)
    assert live.changes["retain_days"] >= live.live / 274.0
    dense = planned(replace(plan, per_day=24_000.0), tmp_path, NOW)
    assert [each.live for each in dense] == [1000, get_settings().retain_challenges]


def test_what_dagster_shows_has_a_picture(template: Template, tmp_path: Path) -> None:
    draw_pictures(template, tmp_path, PAST, 25)
    shown = {path.name for path in (tmp_path / "heatmaps").iterdir()}
    assert shown == {f"{PAST.id(number)}.{kind}" for number in range(25, 40) for kind in ("png", "json")}


def test_dagster_shows_what_retention_keeps(home: Path) -> None:
    with instance_in(home) as instance:
        assert set(instance.get_dynamic_partitions(CHALLENGES)) == {PAST.id(number) for number in range(25, 40)}
        found = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("consensus_scores"), asset_partitions=[PAST.id(30)]), limit=5
        ).records
        assert [record.partition_key for record in found] == [PAST.id(30)]
        run = instance.get_run_by_id(found[0].run_id)
        assert run is not None
        assert run.tags["dagster/partition"] == PAST.id(30)
        assert any(event.is_dagster_event for event in instance.all_logs(run.run_id))


@pytest.mark.slow
def test_what_is_generated_as_pruned_is_what_the_products_retention_leaves(
    template: Template, home: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    fill_inbox(template, raw / "validator.db", PAST)
    history_runs.generate(template, raw, PAST, NOTHING_PRUNED)
    ages = Ages.of(get_settings().model_copy(update={"retain_challenges": 15, "retain_upkeep_days": 0.25}))
    inbox = Inbox.open(f"sqlite:///{raw / 'validator.db'}")
    with instance_in(raw) as instance, instance_in(home) as generated:
        assert len(instance.get_dynamic_partitions(CHALLENGES)) == 40
        pruner = Pruner(instance, inbox, raw / "heatmaps", ages)
        while not pruner.slice(NOW).finished:
            pass
        assert shown(instance) == shown(generated)
    inbox.engine.dispose()


def shown(instance: dg.DagsterInstance) -> dict[str, Any]:
    """Everything that Dagster shows, as far as ids do not tell two histories apart."""
    runs = instance.get_runs()
    return {
        "partitions": set(instance.get_dynamic_partitions(CHALLENGES)),
        "runs": Counter(run.job_name for run in runs),
        "of": sorted(run.tags["dagster/partition"] for run in runs if run.job_name == SCORE_JOB),
        "materialized": {
            asset: instance.event_log_storage.get_materialized_partitions(dg.AssetKey(asset))
            for asset in ("challenges", "consensus_scores", "embeddings")
        },
        "events": Counter(type(each).__name__ for run in runs for each in instance.all_logs(run.run_id)),
    }


def test_sizes_are_by_part(tmp_path: Path) -> None:
    for path in ("tables/embeddings/day=2026-11-20/a.parquet", "tables/scores/a.parquet", "validator.db", "else"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x" * 200_000)
    sizes = sizes_of(tmp_path)
    assert {name for name, size in sizes.items() if size} == {"vectors", "tables", "inbox", "other"}
    assert sizes["vectors"] == pytest.approx(0.2, abs=0.01)


def test_pages_are_queries_of_the_ui() -> None:
    pages = json.loads(PAGES.read_text())
    assert {"AssetGraphLiveQuery", "PartitionHealthQuery", "AssetPartitionDetailQuery"} <= pages.keys()
    assert all(name == body["operationName"] and "query" in body for name, body in pages.items())

"""What was pruned is shown again from inbox and tables, and scored again to the same bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from loosh_pipeline.cli import app
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.settings import get_settings
from tests.retention.conftest import AGES, evaluated, pruned, rows_of, shown
from tests.world import World

C1 = ChallengeId("c-1")


def loosh(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], terminal_width=200)


def materialized(world: World, challenge_id: str) -> dict[str, dict[str, Any]]:
    """What the page of each asset says of a challenge."""
    found = {}
    for key in world.instance.all_asset_keys():
        records = world.instance.fetch_materializations(
            dg.AssetRecordsFilter(key, asset_partitions=[challenge_id]), limit=1
        ).records
        if records and (event := records[0].asset_materialization) is not None:
            found[key.to_user_string()] = {name: value.value for name, value in event.metadata.items()}
    return found


def test_a_pruned_challenge_is_shown_again_scored_to_the_same_bytes_and_goes_when_its_time_has_come(
    world: World, dagster_home: Path
) -> None:
    evaluated(world, "c-1", "c-2")
    scores = Path(world.store.tables.path("consensus_scores", world.scores_key(C1)))
    before, said = scores.read_bytes(), materialized(world, "c-1")
    facts = json.loads(loosh("challenges", "show", "c-1", "--json").stdout)
    pruned(world, 15)
    assert (shown(world), materialized(world, "c-1")) == ({"newest"}, {})
    assert json.loads(loosh("challenges", "show", "c-1", "--json").stdout) == facts
    restored = loosh("restore", "c-1", "--json")
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["challenges"] == 1
    assert shown(world) == {"newest", "c-1"}
    now = materialized(world, "c-1")
    assert set(now) == {"challenges", "miner_responses", "embeddings", "consensus_scores", "submissions", "narratives"}
    for asset in set(now) - {"submissions", "challenges"}:
        same = {"dagster/partition_row_count", "sha256", "path", "dagster/size_bytes"}
        assert {name: now[asset][name] for name in same} == {name: said[asset][name] for name in same}
        assert now[asset]["restored"] is True
    scores.unlink()
    world.evaluate(C1, "consensus_scores")
    assert scores.read_bytes() == before
    world.evaluate(C1, "heatmaps")
    assert (get_settings().heatmaps_root / "c-1.png").exists()
    world.evaluate(ChallengeId("newest"))
    pruned(world, 13.9)
    assert shown(world) == {"newest", "c-1"}
    assert pruned(world, 14.1).challenges == 1
    for name, rows in rows_of(dagster_home).items():
        assert not [row for row in rows if "c-1" in map(str, row)], name
    storage: Any = world.instance.event_log_storage
    with storage.run_connection("") as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM event_logs WHERE partition = 'c-1'").scalar()
    assert left == 0


def test_doing_it_again_changes_nothing_but_the_age(world: World) -> None:
    evaluated(world, "c-1", "c-2")
    pruned(world, 15)
    first = json.loads(loosh("restore", "c-1", "c-2", "--json").stdout)
    assert (first["challenges"], first["materializations"]) == (2, 12)
    storage: Any = world.instance.event_log_storage
    with storage.index_connection() as connection:
        connection.exec_driver_sql("UPDATE dynamic_partitions SET create_timestamp = '2020-01-01 00:00:00'")
    again = json.loads(loosh("restore", "c-2", "--json").stdout)
    assert (again["challenges"], again["materializations"]) == (1, 0)
    pruned(world, 1)
    assert shown(world) == {"newest", "c-2"}


def test_days_are_those_of_utc_and_both_are_meant(world: World) -> None:
    world.refresh_metagraph()
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    for day in (-1, 0, 1, 2):
        world.evaluate(world.accept(f"of-{day}", now=noon + timedelta(days=day)))
    evaluated(world)
    pruned(world, 15)
    ended = loosh("restore", "--since", "2026-01-02", "--until", "2026-01-03")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout == "shown again: 2 (challenges); noted: 12 (of their assets)\n"
    assert shown(world) == {"newest", "of-0", "of-1"}
    assert loosh("restore", "--until", "2025-01-01").exit_code == 3
    assert loosh("restore", "--until", "2026-01-01").exit_code == 0
    assert shown(world) == {"newest", "of-0", "of-1", "of--1"}


def test_what_cannot_be_shown_is_said(world: World) -> None:
    evaluated(world)
    world.accept("waits")
    world.accept("never-asked")
    world.store.runs.claim(datetime.now(UTC), 9, 9)
    row = world.store.inbox.get(ChallengeId("never-asked"))
    world.store.inbox.retry(row, "dead", datetime.now(UTC), 1)
    ended = loosh("restore", "waits", "never-asked", "--json")
    told = json.loads(ended.stdout)
    assert (told["challenges"], told["not_over"], told["without_tables"]) == (0, ["waits"], ["never-asked"])
    assert "left as they are, as they are being evaluated: waits" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing-like-it"], 1, "neither a file nor a challenge that was accepted here"),
        (["newest", "nothing-like-it"], 1, "nothing-like-it is neither"),
        ([], 2, "say what"),
        (["newest", "--check"], 2, "are for a backup"),
        (["newest", "/no/such.tar"], 2, "restore a backup by itself"),
        (["--since", "yesterday"], 2, "yesterday"),
    ],
)
def test_what_is_meant_otherwise_is_refused(world: World, arguments: list[str], code: int, said: str) -> None:
    evaluated(world)
    ended = loosh("restore", *arguments)
    assert (ended.exit_code, said in ended.stderr) == (code, True), ended.stderr


def test_nothing_is_made_where_nothing_is(own_home: Path) -> None:
    ended = loosh("restore", "c-1")
    assert (ended.exit_code, "none was accepted" in ended.stderr) == (1, True)
    assert not get_settings().home.exists() or not list(get_settings().home.iterdir())


def test_more_than_are_ever_kept_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_CHALLENGES", "100")
    get_settings.cache_clear()
    now = datetime(2026, 1, 2, tzinfo=UTC)
    for number in range(111):
        world.accept(f"c-{number}", now=now)
    ended = loosh("restore", "--since", "2026-01-02", "--until", "2026-01-02")
    assert (ended.exit_code, "RETAIN_CHALLENGES=100" in ended.stderr) == (2, True)
    assert AGES.challenges > 100

"""The asset that compacts: it says what it did, and one at a time does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import pytest
from polars.testing import assert_frame_equal

import assets.compacted_tables as module
from assets.compacted_tables import LEASE, LEASE_LENGTH, compacted_tables
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.score_tables import SCORES, WindowRows
from loosh_pipeline.store.tables import TableKey
from loosh_pipeline.store.window_cache import CACHE
from tests.world import MODEL_DIGEST, World

ANSWERED = {"hotkey-1": True, "hotkey-2": True, "hotkey-3": False}


def materialized(world: World, days_from_now: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(module, "_now", lambda: datetime.now(UTC) + timedelta(days=days_from_now))
    result = dg.materialize([compacted_tables], instance=world.instance, resources=world.resources())
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_scores_are_the_same_when_their_day_is_compacted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        world.store_round(f"c-{number}", ANSWERED)
    (day,), profile = world.store.tables.days(SCORES), paying_profile(get_settings())
    key, version = TableKey(day, "c-1"), scorer_version(profile, MODEL_DIGEST)
    before = world.store.score_tables.read(key, version)
    window = window_of(world)
    assert materialized(world, 1, monkeypatch)["packed"] == 0, "its day is not old enough"

    packed = materialized(world, 4, monkeypatch)
    assert packed["packed"] == packed["files_left"] > 0
    assert (packed["removed"], packed["problems"], packed["finished"]) == (0, "none", False)
    assert packed["bytes_after"] < packed["bytes_before"]
    removed = materialized(world, 4.1, monkeypatch)
    assert (removed["removed"], removed["files_left"], removed["days_left"]) == (packed["packed"], 0, 0)
    assert removed["finished"]

    assert world.store.tables.open_days(SCORES) == []
    assert world.store.score_tables.read(key, version) == before
    assert_window_is(window, world)
    world.store.tables.remove_day(CACHE, day)
    assert_window_is(window, world)
    newest = world.store.score_tables.newest_rows(key, profile)
    assert newest is not None
    assert newest["challenge_id"].unique().to_list() == ["c-1"]


def window_of(world: World) -> WindowRows:
    """What weights are made of."""
    since = datetime.now(UTC) - timedelta(days=3)
    return world.store.score_tables.window_rows(duckdb.connect(), RobustProfile(), since)


def assert_window_is(expected: WindowRows, world: World) -> None:
    found = window_of(world)
    assert not expected.scores.is_empty()
    assert not expected.pairs.is_empty()
    assert_frame_equal(found.scores, expected.scores, check_row_order=False, check_exact=True)
    assert_frame_equal(found.pairs, expected.pairs, check_row_order=False, check_exact=True)


def test_another_one_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with Leases(world.store.inbox.engine).held(LEASE, "other", LEASE_LENGTH, lambda: datetime.now(UTC)):
        said = materialized(world, 0, monkeypatch)
    assert said["waits"].startswith(f"other writes {LEASE} until ")
    assert said["finished"] is False, "so it is tried again soon"


def test_tables_that_are_deleted_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store_round("c-1", ANSWERED)
    monkeypatch.setenv("RETAIN_TABLES_DAYS", "30")
    get_settings.cache_clear()
    assert [materialized(world, days, monkeypatch)["forgotten"] for days in (0, 2)] == [0, 0]
    assert materialized(world, 40, monkeypatch)["forgotten"] == 0, "a clock that jumps that far is not believed at once"
    assert materialized(world, 41, monkeypatch)["forgotten"] > 0
    assert world.store.tables.days(SCORES) == []

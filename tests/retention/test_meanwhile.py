"""What is restored, begun or late while a slice works stays; what it holds is said; and what is not ours is left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.orchestrator import CHALLENGES, PARTITION_TAG
from loosh_pipeline.retention.ages import RANGE_END_TAG, RANGE_TAG
from loosh_pipeline.retention.deleting import Deleter
from loosh_pipeline.retention.history import History
from loosh_pipeline.retention.pace import Pace
from loosh_pipeline.retention.pruning import _Slice
from loosh_pipeline.settings import get_settings
from tests.retention.conftest import AGES, evaluated, pruned, shown
from tests.retention.test_pruning import backfill, run_ids
from tests.retention.test_restoring import loosh, materialized
from tests.world import World


def at_first(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, what: Callable[[], object]) -> None:
    """Do something once, just before a step of a slice."""
    step, done = getattr(owner, name), []

    def first(self: Any, *arguments: Any) -> Any:
        if not done:
            done.append(what())
        return step(self, *arguments)

    monkeypatch.setattr(owner, name, first)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(_Slice, "_going"), (Deleter, "_delete_events"), (Deleter, "_delete_records"), (Deleter, "delete_partitions")],
)
def test_what_is_restored_during_a_slice_stays_with_all_that_was_restored(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    evaluated(world, "c-1", "c-2")
    before = set(materialized(world, "c-2"))

    def restored() -> None:
        assert loosh("restore", "c-2").exit_code == 0

    at_first(monkeypatch, owner, name, restored)
    assert pruned(world, 15).challenges == 1
    assert shown(world) == {"c-2", "newest"}
    assert before - {"heatmaps", "shadow_scores"} <= set(materialized(world, "c-2"))


@pytest.mark.parametrize(("owner", "name"), [(_Slice, "_going"), (Deleter, "delete_partitions")])
def test_the_target_of_a_backfill_that_begins_during_a_slice_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    evaluated(world, "c-1", "c-2")
    begun = backfill(BulkActionStatus.REQUESTED, "c-2")
    at_first(monkeypatch, owner, name, lambda: world.instance.add_backfill(begun))
    assert pruned(world, 15).challenges == 1
    assert shown(world) == {"c-2", "newest"}


def test_a_challenge_of_which_a_run_begins_just_then_is_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(world, "c-1")
    queued = dg.DagsterRunStatus.QUEUED
    begin = lambda: world.add_run("__ASSET_JOB", queued, **{PARTITION_TAG: "c-1"})  # noqa: E731
    at_first(monkeypatch, Deleter, "delete_partitions", begin)
    assert pruned(world, 15).challenges == 0
    assert shown(world) == {"c-1", "newest"}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_a_range_in_flight_keeps_its_challenges_whoever_launched_it(world: World, status: dg.DagsterRunStatus) -> None:
    evaluated(world, "c-1", "c-2", "c-3", "c-4")
    run = world.add_run("rescore_challenge", status, **{RANGE_TAG: "c-2", RANGE_END_TAG: "c-3"})
    world.add_run("rescore_day", status, **{RANGE_TAG: "2026-11-01", RANGE_END_TAG: "2026-11-02"})
    done = pruned(world, 15)
    assert shown(world) == {"c-2", "c-3", "newest"}
    assert f"run {run.run_id}: 2" in done.held_by


def test_restoring_what_is_shown_does_not_change_the_order_of_partitions_that_ranges_go_by(world: World) -> None:
    evaluated(world, "c-1", "c-2", "c-3")
    before = world.instance.get_dynamic_partitions(CHALLENGES)
    assert loosh("restore", "c-2").exit_code == 0
    assert world.instance.get_dynamic_partitions(CHALLENGES) == before
    assert pruned(world, 0, replace(AGES, challenges=2)).challenges == 2
    assert "c-2" in shown(world), "and it is as young as one that was just added"


def test_a_backfill_that_never_ends_is_named_and_the_slice_does_not_say_that_it_is_done(world: World) -> None:
    evaluated(world, "c-1", "c-2")
    stuck = replace_names(backfill(BulkActionStatus.REQUESTED))
    world.instance.add_backfill(stuck)
    done = pruned(world, 15, replace(AGES, challenges=1))
    assert (done.challenges, done.kept_challenges, done.finished, done.left) == (0, 3, False, 0)
    assert done.held_by == f"backfill {stuck.backfill_id}: 3"


def replace_names(each: Any) -> Any:
    return each._replace(partition_names=None)


def test_what_waits_for_its_picture_is_not_pushed_out_by_number(world: World) -> None:
    evaluated(world, "c-1", "c-2")
    with world.store.inbox.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE challenges SET to_present_since = received_at WHERE id = 'c-1'")
    pruned(world, 0, replace(AGES, challenges=1))
    assert shown(world) == {"c-1", "newest"}
    pruned(world, 15)
    assert shown(world) == {"newest"}


def test_only_pictures_of_our_challenges_go_half_written_ones_too(world: World) -> None:
    evaluated(world, "c-1")
    odd = world.accept("an id/with a slash")
    root = get_settings().heatmaps_root
    world.store.save_picture(ChallengeId(odd), "png", b"x")
    pruned(world, 15)
    ours = [root / "c-1.png", root / ".c-1.png.tmp", root / ".newest.json.tmp"]
    ours += [path for path in root.iterdir() if path.name.startswith("~")]
    assert len(ours) == 4
    others = [root / "holiday.png", root / ".holiday.png.tmp", root / "notes.txt", root / "newest.png"]
    young = root / ".young.png.tmp"
    for path in (*ours, *others, young):
        path.touch()
        os.utime(path, (time.time() - 7200 * (path is not young),) * 2)
    pruned(world, 1)
    assert [path.exists() for path in ours] == [False] * 4
    assert [path.exists() for path in (*others, young)] == [True] * 5


def test_what_a_process_wrote_after_its_run_was_pruned_goes_later(world: World, dagster_home: Path) -> None:
    (gone,) = evaluated(world, "c-1")
    storage: Any = world.instance.event_log_storage
    events = [entry for entry in world.instance.all_logs(gone) if entry.dagster_event and entry.dagster_event.asset_key]
    pruned(world, 15)
    storage.store_event(events[0])
    written = "SELECT count(*) FROM event_logs WHERE run_id = ?"
    with storage.index_connection() as connection:
        assert connection.exec_driver_sql(written, (gone,)).scalar() == 1
        now = datetime.now(UTC).replace(tzinfo=None)
        connection.exec_driver_sql("UPDATE event_logs SET timestamp = ? WHERE run_id = ?", (str(now), gone))
    pruned(world, 15)
    with storage.index_connection() as connection:
        assert connection.exec_driver_sql(written, (gone,)).scalar() == 1, "it may still be writing"
        old = now - timedelta(hours=2)
        connection.exec_driver_sql("UPDATE event_logs SET timestamp = ? WHERE run_id = ?", (str(old), gone))
    kept = run_ids(world)
    pruned(world, 15)
    with storage.index_connection() as connection:
        assert connection.exec_driver_sql(written, (gone,)).scalar() == 0
    assert run_ids(world) == kept


def test_a_wait_for_the_lock_is_not_counted_as_holding_it(world: World) -> None:
    from loosh_pipeline.retention.rows import locked

    storage: Any = world.instance.event_log_storage
    held_s: list[float] = []
    import threading

    def holding(began: threading.Event) -> None:
        with locked(storage.index_connection):
            began.set()
            time.sleep(0.5)

    began = threading.Event()
    thread = threading.Thread(target=holding, args=(began,))
    thread.start()
    began.wait()
    with locked(storage.index_connection, held_s) as connection:
        connection.exec_driver_sql("DELETE FROM event_logs WHERE id = -1")
    thread.join()
    assert held_s[0] < 0.25


def test_a_run_of_very_many_events_goes_in_several_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (gone,) = evaluated(world, "c-1")
    rests: list[float] = []
    monkeypatch.setattr(Pace, "rest", lambda self, locked_s: rests.append(locked_s))
    History(world.instance).deleter(Pace(float("inf"), size=4)).delete_runs([gone])
    assert len(rests) > 3


def test_the_reply_of_restore_is_the_set_that_was_there(world: World) -> None:
    evaluated(world, "c-1")
    before = set(materialized(world, "c-1"))
    pruned(world, 15)
    assert json.loads(loosh("restore", "c-1", "--json").stdout)["challenges"] == 1
    assert set(materialized(world, "c-1")) == before - {"heatmaps", "shadow_scores"}, "no picture, and no rows"


def test_scores_of_other_profiles_and_times_are_shown_again_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    evaluated(world, "c-1")
    before = set(materialized(world, "c-1"))
    assert "shadow_scores" in before
    pruned(world, 15)
    assert loosh("restore", "c-1").exit_code == 0
    assert set(materialized(world, "c-1")) == before - {"heatmaps"}


def test_a_handful_can_always_be_restored_and_more_only_where_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(world, "c-1")
    pruned(world, 15)
    monkeypatch.setenv("RETAIN_CHALLENGES", "100")
    get_settings.cache_clear()
    world.instance.add_dynamic_partitions(CHALLENGES, [f"live-{number}" for number in range(110)])
    assert loosh("restore", "c-1").exit_code == 0
    for number in range(101):
        world.accept(f"of-{number}", now=datetime(2026, 1, 2, tzinfo=UTC))
    ended = loosh("restore", "--since", "2026-01-02", "--until", "2026-01-02")
    assert (ended.exit_code, "restore 100 at most" in ended.stderr) == (2, True), ended.stderr
    assert "RETAIN_CHALLENGES=213" in ended.stderr

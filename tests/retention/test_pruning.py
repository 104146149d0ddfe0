"""What is old goes, whole; what pages speak of, and what is not over, stays."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from loosh_pipeline.definitions import defs
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.orchestrator import BACKFILL_TAG, CHALLENGES, PARTITION_TAG, SCORE_JOB
from loosh_pipeline.retention.ages import RANGE_TAG
from loosh_pipeline.retention.deleting import Deleter
from loosh_pipeline.retention.pruning import PICTURES
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.tables import file_stem
from sensors.jobs import ASSET_JOBS
from sensors.present_challenges import present_challenges
from tests.retention.conftest import AGES, evaluated, opened, pruned, rows_of, run_files, shown
from tests.world import World

SUCCESS = dg.DagsterRunStatus.SUCCESS


def run_ids(world: World) -> set[str]:
    return {run.run_id for run in world.instance.get_runs()}


def test_a_challenge_goes_with_its_run_its_events_and_its_pictures(world: World, dagster_home: Path) -> None:
    gone = evaluated(world, "c-1", "c-2")
    root = get_settings().heatmaps_root
    assert len(list(root.iterdir())) == 6
    done = pruned(world, 15)
    assert (done.challenges, done.runs, done.pictures, done.finished, done.left) == (2, 2, 4, True, 0)
    assert (done.kept_challenges, done.kept_runs) == (1, 2)
    assert shown(world) == {"newest"}
    assert not run_ids(world) & set(gone)
    assert run_files(dagster_home) == run_ids(world)
    for name, rows in rows_of(dagster_home).items():
        assert not [row for row in rows if set(map(str, row)) & {"c-1", "c-2", *gone}], name
    assert {path.stem for path in root.iterdir()} == {"newest"}
    assert world.instance.get_materialized_partitions(dg.AssetKey("consensus_scores")) == {"newest"}
    assert world.store.tables.exists("consensus_scores", world.scores_key(ChallengeId("c-1")))
    assert world.state(ChallengeId("c-1")) is ChallengeState.SUBMITTED


def test_nothing_goes_before_its_time(world: World) -> None:
    evaluated(world, "c-1")
    before = run_ids(world)
    done = pruned(world, 13.9)
    assert (done.challenges, run_ids(world), done.finished) == (0, before, True)


def test_the_oldest_go_when_there_are_too_many_however_young(world: World) -> None:
    evaluated(world, "c-1", "c-2", "c-3")
    assert pruned(world, 0, replace(AGES, challenges=2)).challenges == 2
    assert shown(world) == {"c-3", "newest"}


def test_a_challenge_that_is_not_over_stays(world: World) -> None:
    evaluated(world, "c-1")
    for each in ("waits", "parked"):
        world.accept(each)
        world.instance.add_dynamic_partitions(CHALLENGES, [each])
    row = world.store.inbox.get(ChallengeId("parked"))
    claims = world.store.runs.claim(datetime.now(UTC), 9, 9)
    assert len(claims) == 2
    row = world.store.inbox.get(row.id)
    assert world.store.inbox.retry(row, "dead", datetime.now(UTC), 1) is ChallengeState.FAILED
    pruned(world, 15)
    assert shown(world) == {"waits", "newest"}


def test_what_a_parked_challenge_needs_is_there_again_when_it_is_taken_up_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(world)
    world.accept("parked")
    world.instance.add_dynamic_partitions(CHALLENGES, ["parked"])
    world.store.runs.claim(datetime.now(UTC), 9, 9)
    row = world.store.inbox.get(ChallengeId("parked"))
    world.store.inbox.retry(row, "dead", datetime.now(UTC), 1)
    delete = Deleter.delete_partitions

    def taken_up(self: Deleter, added: Any) -> set[str]:
        world.store.inbox.unpark(datetime.now(UTC))
        return delete(self, added)

    monkeypatch.setattr(Deleter, "delete_partitions", taken_up)
    assert pruned(world, 15).challenges == 0
    assert shown(world) == {"parked", "newest"}


def test_unfinished_runs_and_their_challenge_stay(world: World) -> None:
    evaluated(world, "c-1")
    again = world.add_run(SCORE_JOB, dg.DagsterRunStatus.QUEUED, **{PARTITION_TAG: "c-1"})
    alone = world.add_run("refresh_metagraph", dg.DagsterRunStatus.STARTED)
    done = pruned(world, 400)
    assert done.challenges == 0
    assert {again.run_id, alone.run_id} <= run_ids(world)
    assert shown(world) == {"c-1", "newest"}


def test_a_challenge_that_was_run_again_lately_stays(world: World) -> None:
    evaluated(world, "c-1")
    storage: Any = world.instance.event_log_storage
    with storage.index_connection() as connection:
        connection.exec_driver_sql("UPDATE dynamic_partitions SET create_timestamp = '2020-01-01 00:00:00'")
    assert pruned(world, 1).challenges == 0
    assert pruned(world, 1, replace(AGES, challenges=1)).challenges == 1, "but for the number"


KEPT_DAYS = {
    "score_challenge": 14,
    "set_weights": 90,
    "rescore_challenge": 90,
    "rescore_day": 90,
    "read_receipts": 2,
    "refresh_metagraph": 2,
    "refresh_availability": 2,
    "refresh_network_view": 2,
    "refresh_context": 2,
    "retention": 2,
}


def test_how_long_runs_of_each_job_are_kept_was_decided() -> None:
    assert {job.name for job in ASSET_JOBS} == set(KEPT_DAYS)


@pytest.mark.parametrize(
    ("job", "tags", "kept_days"),
    [
        *((job.name, dict(job.tags or {}), KEPT_DAYS.get(job.name, 0)) for job in ASSET_JOBS),
        (present_challenges.name, dict(present_challenges.tags or {}), 14),
        ("__ASSET_JOB", {}, 90),
        (SCORE_JOB, {RANGE_TAG: "c-1"}, 90),
        ("__ASSET_JOB", {PARTITION_TAG: "2026-11-01"}, 90),
    ],
)
def test_runs_of_no_challenge_go_by_what_they_are_for(
    world: World, job: str, tags: dict[str, str], kept_days: int
) -> None:
    run = world.add_run(job, SUCCESS, **tags)
    pruned(world, kept_days - 0.1)
    assert run_ids(world) == {run.run_id}
    assert pruned(world, kept_days + 0.1).runs == 1
    assert run_ids(world) == set()


def test_what_pages_speak_of_stays_for_ever(world: World) -> None:
    evaluated(world, "c-1")
    world.refresh_availability()
    old = [world.set_weights().run_id for _ in range(2)]
    pages: Callable[[], Any] = lambda: {  # noqa: E731
        key: (
            world.instance.get_latest_materialization_event(key).run_id,  # type: ignore[union-attr]
            (record := world.instance.get_asset_records([key])[0]).asset_entry.last_run_id,
            record.storage_id,
        )
        for key in world.instance.all_asset_keys()
    }
    checks = rows_of(Path(world.instance.root_directory))["index.db: asset_check_executions"]
    before = pages()
    pruned(world, 4000)
    assert pages() == before
    assert run_ids(world) == {run_id for pair in before.values() for run_id in pair[:2]}
    assert old[0] not in run_ids(world)
    after = rows_of(Path(world.instance.root_directory))["index.db: asset_check_executions"]
    assert {row[1:3] for row in after} == {row[1:3] for row in checks}, "every check still has its newest evaluation"


def backfill(status: BulkActionStatus, *partitions: str) -> PartitionBackfill:
    return PartitionBackfill(
        backfill_id=f"bf-{status.value}"[:32],
        status=status,
        from_failure=False,
        tags={"by": "hand"},
        backfill_timestamp=time.time(),
        partition_names=list(partitions),
        partition_set_origin=None,
        reexecution_steps=None,
    )


def test_backfills_under_way_keep_their_runs_and_partitions_and_others_go_with_theirs(world: World) -> None:
    gone = evaluated(world, "c-1", "c-2", "c-3")
    going, over = backfill(BulkActionStatus.REQUESTED, "c-1"), backfill(BulkActionStatus.COMPLETED_SUCCESS, "c-2")
    for each in (going, over):
        world.instance.add_backfill(each)
        world.add_run("__ASSET_JOB", SUCCESS, **{BACKFILL_TAG: each.backfill_id})
    done = pruned(world, 91)
    assert shown(world) == {"c-1", "newest"}
    assert gone[0] in run_ids(world)
    assert (done.challenges, done.backfills) == (2, 1)
    assert [each.backfill_id for each in world.instance.get_backfills()] == [going.backfill_id]
    tags = rows_of(Path(world.instance.root_directory))["runs.db: backfill_tags"]
    assert {row[1] for row in tags} <= {going.backfill_id}


def test_a_slice_ends_in_time_and_the_next_goes_on(world: World) -> None:
    evaluated(world, "c-1", "c-2")
    first = pruned(world, 15, budget_s=0)
    assert (first.challenges, first.left, first.finished) == (0, 3, False)
    assert pruned(world, 15).finished


def test_files_of_nobody_go(world: World, dagster_home: Path) -> None:
    evaluated(world, "c-1")
    folder, root = dagster_home / "history" / "runs", get_settings().heatmaps_root
    lone = "22222222-2222-2222-2222-222222222222"
    stale = [folder / f"{lone}.db", folder / f"{lone}.db-wal", folder / ".empty-run-1.0.0"]
    broken = folder / ".broken-33333333-1"
    young = [folder / "44444444-4444-4444-4444-444444444444.db", root / "young.png"]
    for path in (*stale, broken, *young):
        path.touch()
    for path in stale:
        os.utime(path, (time.time() - 7200,) * 2)
    pruned(world, 1)
    assert [path.exists() for path in (*stale, broken, *young)] == [False] * 3 + [True] * 3
    os.utime(broken, (time.time() - 15 * 86400,) * 2)
    pruned(world, 1)
    assert not broken.exists()
    assert {f"{file_stem(each)}.{kind}" for each in ("c-1", "newest") for kind in PICTURES} <= {
        path.name for path in root.iterdir()
    }


def test_figures_are_folded_and_stay_what_they_are(world: World) -> None:
    evaluated(world, "c-1")
    before = world.store.inbox.stats()
    done = pruned(world, 3)
    assert (done.folded, world.store.inbox.stats()) == (2, before)


def test_room_that_became_free_is_used_again(world: World, dagster_home: Path) -> None:
    """However many come and go, the shared databases are as large as they were once."""

    def pages() -> list[int]:
        found = []
        for name in ("runs.db", "runs/index.db"):
            with closing(sqlite3.connect(dagster_home / "history" / name)) as connection:
                found.append(connection.execute("PRAGMA page_count").fetchone()[0])
        return found

    evaluated(world, *(f"c-{number}" for number in range(6)))
    pruned(world, 15)
    first = pages()
    for cycle in range(1, 3):
        for number in range(6):
            world.evaluate(world.accept(f"c-{cycle}-{number}"))
        assert pruned(world, 15).challenges == 6
    assert all(now <= 1.03 * before for now, before in zip(pages(), first, strict=True))


def test_who_watches_a_run_that_goes_is_not_broken_by_it(world: World, dagster_home: Path) -> None:
    """As a webserver does for a page that is open: by another storage, with a connection that it keeps."""
    (gone,) = evaluated(world, "c-1")
    with opened(dagster_home) as looking:
        heard: list[Any] = []
        assert len(looking.all_logs(gone)) > 30
        looking.watch_event_logs(gone, None, lambda entry, _: heard.append(entry))
        pruned(world, 15)
        assert looking.get_run_by_id(gone) is None
        assert looking.all_logs(gone) == []
        assert len(looking.all_logs(world.evaluate(ChallengeId("newest")).run_id)) > 30
        looking.end_watch_event_logs(gone, heard.append)
    for path in (dagster_home / "history" / "runs").glob(f"{gone}*"):  # looking for it made an empty one
        os.utime(path, (time.time() - 7200,) * 2)
    pruned(world, 1)
    assert gone not in run_files(dagster_home)


@pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")  # within Dagster
def test_a_backfill_of_assets_that_is_under_way_keeps_the_partitions_that_it_is_to_make(world: World) -> None:
    evaluated(world, "c-1", "c-2")
    graph = defs.resolve_asset_graph()
    world.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="of-assets",
            asset_graph=graph,
            partition_names=["c-1"],
            asset_selection=[dg.AssetKey("consensus_scores")],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=world.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    assert pruned(world, 15).challenges == 1
    assert shown(world) == {"c-1", "newest"}

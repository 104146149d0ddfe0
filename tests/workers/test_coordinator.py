"""Fresh challenges start at once; what else is run waits in Dagster's queue."""

from __future__ import annotations

import os

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext

from loosh_pipeline.orchestrator import CODE_LOCATION, REPOSITORY, SCORE_JOB, WEIGHTS_JOB
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import folder
from tests.workers.conftest import NewRun

STARTING, QUEUED = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED


@pytest.mark.parametrize(
    ("job", "tags", "status"),
    [
        (SCORE_JOB, {}, STARTING),
        (SCORE_JOB, {"loosh__attempt": "1"}, STARTING),
        (SCORE_JOB, {"dagster__backfill": "b"}, QUEUED),
        (SCORE_JOB, {"dagster__parent_run_id": "p"}, QUEUED),
        (WEIGHTS_JOB, {}, QUEUED),
    ],
)
def test_who_waits(
    instance: dg.DagsterInstance,
    new_run: NewRun,
    settings: Settings,
    job: str,
    tags: dict[str, str],
    status: dg.DagsterRunStatus,
) -> None:
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), REPOSITORY)
    run = new_run(job, **tags)._replace(remote_job_origin=location.get_job_origin(job))
    instance.run_storage.delete_run(run.run_id)
    instance.run_storage.add_run(run)
    submitted = instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))
    assert submitted.status is status
    waiting = folder(settings) / "waiting"
    assert len(os.listdir(waiting) if waiting.exists() else []) == (status is STARTING)


@pytest.mark.parametrize(
    ("assets", "tagged"),
    [
        (["rescored_scores"], "challenge"),
        (["rescored_days"], "day"),
        (["rescored_scores", "consensus_scores"], None),
        (["consensus_scores"], None),
        ([], None),
    ],
)
def test_what_is_scored_again_comes_last_from_a_page_too(
    instance: dg.DagsterInstance, new_run: NewRun, assets: list[str], tagged: str | None
) -> None:
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), REPOSITORY)
    selected = frozenset(map(dg.AssetKey, assets)) or None
    origin = location.get_job_origin(WEIGHTS_JOB)
    run = new_run(WEIGHTS_JOB)._replace(remote_job_origin=origin, asset_selection=selected)
    instance.run_storage.delete_run(run.run_id)
    instance.run_storage.add_run(run)
    submitted = instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))
    assert submitted.status is QUEUED
    assert submitted.tags.get("loosh/rescoring") == tagged
    assert submitted.tags.get("dagster/max_runtime") == (None if tagged is None else "14400")
    assert ("dagster/priority" in submitted.tags) == (tagged is not None)

"""A challenge is pruned under a running validator, shown again, and scored again to the same bytes from the UI."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.orchestrator import PARTITION_TAG, RETENTION_JOB
from loosh_pipeline.services import environment
from loosh_pipeline.workers.config import QUEUE_TAG, UPKEEP
from tests.e2e.validator import Validator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LOGS = """query ($id: ID!) { logsForRun(runId: $id) { __typename
  ... on EventConnection { events { __typename } } } }"""
PARTITIONS = """query { assetNodes { assetKey { path } partitionStats { numMaterialized numPartitions }
  partitionKeyConnection(limit: 1000, ascending: true) { results } latestMaterializationByPartition { runId } } }"""
BACKFILL = """mutation ($key: String!) { launchPartitionBackfill(backfillParams: {
  assetSelection: [{path: ["consensus_scores"]}], partitionNames: [$key] }) { __typename } }"""


def asked(validator: Validator, query: str, **variables: Any) -> Any:
    """What the webserver answers that has been running all along, with its connections."""
    url = f"http://127.0.0.1:{validator.settings.dagster_port}/graphql"
    answer = validator.dagster.client.post(url, json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def page(validator: Validator, asset: str = "consensus_scores") -> Any:
    nodes = asked(validator, PARTITIONS)["assetNodes"]
    return next(node for node in nodes if node["assetKey"]["path"] == [asset])


def runs_of(validator: Validator, key: str) -> list[str]:
    database = validator.settings.home / "dagster_home" / "history" / "runs.db"
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT run_id FROM run_tags WHERE key = ? AND value = ?"
        return [run_id for (run_id,) in connection.execute(query, (PARTITION_TAG, key))]


def aged(validator: Validator, keys: Sequence[str]) -> None:
    """Let challenges have been evaluated long ago."""
    history = validator.settings.home / "dagster_home" / "history"
    old = "2020-01-01 00:00:00.000000"
    with closing(sqlite3.connect(history / "runs.db", timeout=30)) as connection, connection:
        for run_id in (run_id for key in keys for run_id in runs_of(validator, key)):
            connection.execute("UPDATE runs SET update_timestamp = ? WHERE run_id = ?", (old, run_id))
    with closing(sqlite3.connect(history / "runs" / "index.db", timeout=30)) as connection, connection:
        for key in keys:
            connection.execute("UPDATE dynamic_partitions SET create_timestamp = ? WHERE partition = ?", (old, key))


def loosh(validator: Validator, *arguments: str) -> str:
    env = {**os.environ, **environment(validator.settings, validator.settings.home / "dagster_home")}
    command = [sys.executable, "-m", "loosh_pipeline.cli", *arguments]
    ended = subprocess.run(command, env=env, cwd=validator.settings.home, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def prune(validator: Validator) -> None:
    run_id = validator.dagster.launch(RETENTION_JOB, {QUEUE_TAG: UPKEEP})

    def over() -> bool:
        status = validator.dagster.run_status(run_id)
        assert status != "FAILURE", validator.dagster.outcome(run_id)
        return status == "SUCCESS"

    validator.until("history is pruned", over)


def settled(validator: Validator, key: str) -> None:
    """Wait until the run of a challenge is over, pictures and all."""
    validator.reaches(ChallengeId(key), ChallengeState.SUBMITTED)
    ended = ("SUCCESS", "FAILURE")
    validator.until(
        f"the run of {key} is over",
        lambda: all(validator.dagster.run_status(run) in ended for run in runs_of(validator, key)) or None,
    )


def test_pruned_shown_again_and_scored_again_while_it_runs(validator: Validator) -> None:
    old = ["pruned-1", "pruned-2"]
    for key in (*old, "pruned-not"):
        validator.accept(key)
    for key in (*old, "pruned-not"):
        settled(validator, key)
    validator.accept("pruned-later")
    settled(validator, "pruned-later")
    (run_id, *_) = runs_of(validator, "pruned-1")
    assert asked(validator, LOGS, id=run_id)["logsForRun"]["events"], "its page is open in a browser"
    before = page(validator)
    aged(validator, old)
    prune(validator)
    assert asked(validator, LOGS, id=run_id)["logsForRun"]["__typename"] == "RunNotFoundError"
    after = page(validator)
    assert set(before["partitionKeyConnection"]["results"]) - set(after["partitionKeyConnection"]["results"]) == set(
        old
    )
    assert after["partitionStats"]["numMaterialized"] == before["partitionStats"]["numMaterialized"] - 2
    runs = validator.settings.home / "dagster_home" / "history" / "runs"
    assert not (runs / f"{run_id}.db").exists()
    shown = loosh(validator, "challenges", "show", "pruned-1")
    assert "submitted since" in shown
    assert "payout" in shown
    validator.accept("pruned-after")
    settled(validator, "pruned-after")
    scored_again(validator, old[0])


def scored_again(validator: Validator, key: str) -> None:
    (scores,) = (validator.settings.home / "tables" / "consensus_scores").rglob(f"{key}.*.parquet")
    before = scores.read_bytes()
    assert loosh(validator, "restore", key).startswith("shown again: 1 ")
    assert key in page(validator)["partitionKeyConnection"]["results"]
    scores.unlink()
    assert asked(validator, BACKFILL, key=key)["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess"
    validator.until(f"{key} is scored again", lambda: Path(scores).exists() or None)
    assert scores.read_bytes() == before

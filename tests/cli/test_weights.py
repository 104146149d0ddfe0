"""`loosh weights set`: what is launched, and what an operator reads of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import loosh_pipeline.cli.weights as module
from loosh_pipeline.cli import app
from loosh_pipeline.settings import get_settings
from loosh_pipeline.supervisor import free_ports
from tests.graphql_server import GraphQlServer

FAILED = {
    "__typename": "AssetCheckEvaluationEvent",
    "evaluation": {
        "checkName": "change",
        "severity": "ERROR",
        "success": False,
        "metadataEntries": [{"label": "reason", "text": "90% of the weight goes to others [than] before"}],
    },
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GraphQlServer]:
    server = GraphQlServer()
    monkeypatch.setenv("DAGSTER_URL", server.url)
    monkeypatch.setattr(module, "POLL_S", 0.0)
    get_settings.cache_clear()
    yield server
    server.close()


def ends(server: GraphQlServer, status: str, *events: dict[str, Any]) -> None:
    statuses = ["STARTED", status]
    server.answers["runOrError"] = lambda: {"__typename": "Run", "status": statuses.pop(0)}
    server.answers["logsForRun"] = {**server.answers["logsForRun"], "events": list(events)}


def loosh(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["weights", "set", *arguments], terminal_width=200)


def test_weights_are_set_by_the_job_that_the_schedule_runs(server: GraphQlServer) -> None:
    ends(server, "SUCCESS")
    found = loosh()
    assert found.exit_code == 0
    assert "weights were set (SUCCESS)" in found.output
    params = server.asked[0][1]["params"]
    assert params["selector"]["jobName"] == "set_weights"
    assert params["runConfigData"] == {"ops": {"weight_proposal": {"config": {"waive": []}}}}


def test_what_is_waived_goes_along(server: GraphQlServer) -> None:
    ends(server, "SUCCESS")
    found = loosh("--waive", "flagged_share", "--waive", "change")
    assert "run run-1, waiving change, flagged_share" in found.output
    config = server.asked[0][1]["params"]["runConfigData"]
    assert config["ops"]["weight_proposal"]["config"]["waive"] == ["change", "flagged_share"]


def test_a_check_that_failed_says_why(server: GraphQlServer) -> None:
    ends(server, "FAILURE", FAILED)
    found = loosh()
    assert found.exit_code == 1
    assert "check failed: change: 90% of the weight goes to others [than] before" in found.output
    assert "nothing was set (FAILURE)" in found.output


def _materialized(asset: str, **texts: str) -> dict[str, Any]:
    entries = [{"label": label, "text": text} for label, text in texts.items()]
    return {"__typename": "MaterializationEvent", "assetKey": {"path": [asset]}, "metadataEntries": entries}


def test_a_script_can_tell_that_it_was_not_yet_time(server: GraphQlServer) -> None:
    ends(server, "SUCCESS", _materialized("weights", skipped="not due before block 500"))
    found = loosh()
    assert found.exit_code == 3
    assert "weights: skipped not due before block 500" in found.output
    assert "nothing was set: it is not yet time (SUCCESS)" in found.output


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("emissions", "nothing was set (FAILURE)"),
        ("weights", "the submission failed; `loosh chain status` says what became of it (FAILURE)"),
        ("penalties", "weights were set, and what follows failed (FAILURE)"),
    ],
)
def test_what_failed_says_whether_anything_was_set(server: GraphQlServer, step: str, said: str) -> None:
    error = {"message": "broken", "errorChain": []}
    ends(server, "FAILURE", {"__typename": "ExecutionStepFailureEvent", "stepKey": step, "error": error})
    found = loosh()
    assert found.exit_code == 1
    assert said in found.output


def test_without_a_validator_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PORT", str(free_ports(1)[0]))
    get_settings.cache_clear()
    found = loosh()
    assert found.exit_code == 1
    assert "error: no validator runs here (" in found.output
    assert "): start `loosh up`" in " ".join(found.output.split())
    assert "ConnectError" not in found.output


def test_an_error_of_ours_is_told_without_its_class(server: GraphQlServer) -> None:
    cause = {"error": {"message": "loosh_pipeline.errors.ChainError: reading subnet 78 failed\n"}}
    error = {"message": "DagsterExecutionStepExecutionError", "errorChain": [cause]}
    event = {"__typename": "ExecutionStepFailureEvent", "stepKey": "weight_proposal", "error": error}
    ends(server, "FAILURE", event)
    assert "weight_proposal failed: reading subnet 78 failed\n" in loosh().output


def test_what_cannot_be_waived_launches_nothing(server: GraphQlServer) -> None:
    found = loosh("--waive", "finite")
    assert found.exit_code == 2
    assert server.asked == []


def test_a_run_that_takes_too_long_is_not_waited_for(server: GraphQlServer) -> None:
    found = loosh("--within-s", "0")
    assert found.exit_code == 1
    assert "the run has not ended (STARTED)" in found.output


def test_a_program_reads_one_object(server: GraphQlServer) -> None:
    ends(server, "FAILURE", FAILED)
    found = loosh("--json")
    said = json.loads(found.stdout)
    assert (found.exit_code, said["set"], said["status"]) == (1, False, "FAILURE")
    assert said["blocked"] == ["change: 90% of the weight goes to others [than] before"]

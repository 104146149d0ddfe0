"""Asking Dagster over GraphQL: what is sent, what is understood, and what each failure means."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from loosh_pipeline.orchestrator import (
    _EVENTS,
    _LAUNCH,
    _LOCATION,
    _STATUS,
    CHALLENGES,
    CODE_LOCATION,
    REPOSITORY,
    SCORE_JOB,
    WEIGHTS_JOB,
    DagsterApi,
    NoAnswer,
    NotReady,
    OrchestratorError,
    challenges_document,
    runs_document,
)
from loosh_pipeline.supervisor import free_ports
from tests.graphql_server import GraphQlServer, launched


@pytest.fixture
def server() -> Iterator[GraphQlServer]:
    server = GraphQlServer()
    yield server
    server.close()


@pytest.fixture
def api(server: GraphQlServer) -> Iterator[DagsterApi]:
    api = DagsterApi.at(server.url + "/", timeout_s=5.0)
    yield api
    api.close()


LOCATION = {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION}


def run_of(key: str, attempt: str) -> dict[str, Any]:
    tags = {
        "dagster/partition": key,
        "loosh/attempt": attempt,
        "loosh/launched-by": "ingress" if attempt == "1" else "retry",
    }
    return {
        "selector": {**LOCATION, "jobName": SCORE_JOB},
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": name, "value": value} for name, value in tags.items()]},
    }


def test_one_request_adds_the_partition_of_a_challenge_and_launches_its_run(
    server: GraphQlServer, api: DagsterApi
) -> None:
    assert api.launch_challenges({"c é/1": 2}) == ["run-1"]
    expected = {"repository": LOCATION, "definition": CHALLENGES, "key0": "c é/1", "params": run_of("c é/1", "2")}
    assert server.asked == [("launchRun", expected)]


def test_one_request_launches_many_and_answers_for_each(server: GraphQlServer, api: DagsterApi) -> None:
    assert api.launch_challenges({}) == []
    assert api.launch_challenges({"c-1": 1, "c-2": 3}) == ["run-1", "run-2"]
    ((operation, variables),) = server.asked
    assert operation == "launchMultipleRuns"
    assert (variables["key0"], variables["key1"]) == ("c-1", "c-2")
    assert variables["params"] == [run_of("c-1", "1"), run_of("c-2", "3")]


def test_of_many_each_is_refused_by_itself(server: GraphQlServer, api: DagsterApi) -> None:
    mixed = launched(3)
    mixed["launchMultipleRunsResult"][1] = {"__typename": "PythonError", "message": "boom"}
    mixed["launchMultipleRunsResult"][2] = {"__typename": "PipelineNotFoundError", "message": "no such job"}
    server.answers["launchMultipleRuns"] = mixed
    first, second, third = api.launch_challenges({"c-1": 1, "c-2": 1, "c-3": 1})
    assert first == "run-1"
    assert type(second) is OrchestratorError
    assert type(third) is NotReady


def test_which_attempts_have_a_run_is_asked_at_once(server: GraphQlServer, api: DagsterApi) -> None:
    assert api.launched({"c-1": 1, "c-2": 4}) == {"c-1", "c-2"}
    ((operation, variables),) = server.asked
    assert operation == "runsOrError"
    assert variables["run1"] == [{"key": "dagster/partition", "value": "c-2"}, {"key": "loosh/attempt", "value": "4"}]
    server.answers["runsOrError"] = {"__typename": "Runs", "results": []}
    assert api.launched({"c-1": 1}) == set()
    server.answers["runsOrError"] = {"__typename": "PythonError", "message": "boom"}
    with pytest.raises(OrchestratorError, match="boom"):
        api.launched({"c-1": 1})


@pytest.mark.parametrize("answer", [launched(1), {"__typename": "PythonError", "message": "boom"}])
def test_many_launches_without_an_answer_for_each_are_not_known(
    server: GraphQlServer, api: DagsterApi, answer: dict[str, Any]
) -> None:
    server.answers["launchMultipleRuns"] = answer
    with pytest.raises(NoAnswer, match="what became of 2 runs"):
        api.launch_challenges({"c-1": 1, "c-2": 1})


def test_a_partition_that_is_there_is_no_obstacle_and_one_that_cannot_be_added_is_told(
    server: GraphQlServer, api: DagsterApi, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["addDynamicPartition"] = {"__typename": "DuplicateDynamicPartitionError"}
    assert api.launch_challenges({"c-1": 1}) == ["run-1"]
    assert caplog.text == ""
    server.answers["addDynamicPartition"] = {"__typename": "PythonError"}
    assert api.launch_challenges({"c-1": 1}) == ["run-1"]
    assert "did not add the partition 'c-1'" in caplog.text


@pytest.mark.parametrize(
    ("answer", "message", "kind"),
    [
        ({"__typename": "RunConfigValidationInvalid", "errors": [{"message": "bad"}]}, "bad", OrchestratorError),
        ({"__typename": "PythonError", "message": "boom"}, "did not launch score_.*boom", OrchestratorError),
        ({"__typename": "PipelineNotFoundError", "message": "no such job"}, "no such job", NotReady),
        ({"__typename": "PythonError", "className": "DagsterCodeLocationNotFoundError"}, "Location", NotReady),
    ],
)
def test_a_refusal_says_what_dagster_said(
    server: GraphQlServer, api: DagsterApi, answer: dict[str, Any], message: str, kind: type[OrchestratorError]
) -> None:
    server.answers["launchRun"] = answer
    (refused,) = api.launch_challenges({"c-1": 1})
    assert type(refused) is kind
    assert re.search(message, str(refused))
    with pytest.raises(kind, match=message):
        api.launch(SCORE_JOB, {})


def test_an_error_in_the_middle_of_a_launch_is_no_answer(server: GraphQlServer, api: DagsterApi) -> None:
    server.raw["launchRun"] = (200, b'{"data": null, "errors": [{"message": "x", "path": ["launchRun"]}]}')
    with pytest.raises(NoAnswer, match="launchRun"):
        api.launch_challenges({"c-1": 1})


def test_a_refused_query_is_a_refusal(server: GraphQlServer, api: DagsterApi) -> None:
    server.raw["launchRun"] = (200, b'{"data": null, "errors": [{"message": "Unknown type ExecutionParams"}]}')
    with pytest.raises(OrchestratorError, match=r"refused a query.*Unknown type") as caught:
        api.launch(WEIGHTS_JOB, {})
    assert not isinstance(caught.value, NoAnswer)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, b"oops", "500"),
        (502, b"<html>bad gateway</html>", "502"),
        (200, b"<html>a portal</html>", "did not answer"),
        (200, b"[1, 2]", "answered without launchRun"),
        (200, b"{}", "answered without launchRun"),
        (200, b'{"data": null}', "answered without launchRun"),
        (200, b'{"data": {"launchRun": null}}', "answered without launchRun"),
        (200, b'{"data": {"launchRun": {}}}', "is it a Dagster webserver"),
    ],
)
def test_what_is_no_answer_is_told_apart(
    server: GraphQlServer, api: DagsterApi, status: int, body: bytes, message: str
) -> None:
    server.raw["launchRun"] = (status, body)
    with pytest.raises(NoAnswer, match=message):
        api.launch(WEIGHTS_JOB, {})


def test_too_slow_is_no_answer_and_nobody_there_is_not_asked(server: GraphQlServer) -> None:
    server.answers["launchRun"] = lambda: time.sleep(0.5)
    impatient = DagsterApi.at(server.url, timeout_s=0.1)
    with pytest.raises(NoAnswer, match="ReadTimeout"):
        impatient.launch(WEIGHTS_JOB, {})
    impatient.close()

    nobody = DagsterApi.at(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(NotReady, match=r"could not be asked.*is it running"):
        nobody.launch(WEIGHTS_JOB, {})
    assert not nobody.ready()
    nobody.close()


def test_run_status(server: GraphQlServer, api: DagsterApi) -> None:
    assert api.run_status("run-1") == "STARTED"
    assert server.asked == [("runOrError", {"id": "run-1"})]
    server.answers["runOrError"] = {"__typename": "RunNotFoundError"}
    with pytest.raises(OrchestratorError, match="knows no run run-9"):
        api.run_status("run-9")


def locations(**statuses: str) -> dict[str, Any]:
    entries = [{"name": name, "loadStatus": status} for name, status in statuses.items()]
    return {"__typename": "WorkspaceLocationStatusEntries", "entries": entries}


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (locations(other="LOADING", loosh_pipeline="LOADED"), True),
        (locations(loosh_pipeline="LOADING"), False),
        (locations(other="LOADED"), False),
        (locations(), False),
        ({"__typename": "PythonError", "message": "x"}, False),
        (None, False),
    ],
)
def test_ready_is_a_loaded_code_location(server: GraphQlServer, api: DagsterApi, answer: Any, ready: bool) -> None:
    server.answers["locationStatusesOrError"] = answer
    assert api.ready() is ready


def text(label: str, said: str) -> dict[str, str]:
    return {"label": label, "text": said}


def checked(name: str, severity: str, *, success: bool, reason: str) -> dict[str, Any]:
    entries = [text("reason", reason), {"label": "block"}]
    evaluation = {"checkName": name, "severity": severity, "success": success, "metadataEntries": entries}
    return {"__typename": "AssetCheckEvaluationEvent", "evaluation": evaluation}


def page(*events: dict[str, Any], more: bool) -> dict[str, Any]:
    return {"__typename": "EventConnection", "events": list(events), "cursor": "next", "hasMore": more}


def test_what_a_run_said_of_itself_over_all_pages(server: GraphQlServer, api: DagsterApi) -> None:
    error = {"message": "StepError", "errorChain": [{"error": {"message": "the chain refused the weights\n"}}]}
    pages = [
        page(
            {"__typename": "LogMessageEvent"},
            checked("finite", "ERROR", success=True, reason="all finite"),
            checked("change", "ERROR", success=False, reason="90% goes to others"),
            more=True,
        ),
        page(
            checked("flagged_share", "WARN", success=False, reason="waived for this run: 60%"),
            {"__typename": "ExecutionStepFailureEvent", "stepKey": "weights", "error": error},
            {"__typename": "ExecutionStepFailureEvent", "stepKey": "other", "error": None},
            {
                "__typename": "MaterializationEvent",
                "assetKey": {"path": ["weights"]},
                "metadataEntries": [text("skipped", "not due")],
            },
            {"__typename": "MaterializationEvent", "assetKey": {"path": ["emissions"]}, "metadataEntries": []},
            more=False,
        ),
    ]
    server.answers["logsForRun"] = lambda: pages.pop(0)
    found = api.outcome("run-1")
    assert found.blocked == ["change: 90% goes to others"]
    assert found.warned == ["flagged_share: waived for this run: 60%"]
    assert found.said == ["weights failed: the chain refused the weights", "weights: skipped not due"]
    assert [about["cursor"] for _, about in server.asked] == [None, "next"]


def test_the_events_of_an_unknown_run_are_an_error(server: GraphQlServer, api: DagsterApi) -> None:
    server.answers["logsForRun"] = {"__typename": "RunNotFoundError"}
    with pytest.raises(OrchestratorError, match="no events of run run-9"):
        api.outcome("run-9")


def test_a_job_is_launched_with_the_run_config_it_is_given(server: GraphQlServer, api: DagsterApi) -> None:
    api.launch(WEIGHTS_JOB, {}, {"ops": {}})
    api.launch(WEIGHTS_JOB, {})
    assert [about["params"]["runConfigData"] for _, about in server.asked] == [{"ops": {}}, {}]


@pytest.mark.parametrize(
    "query", [challenges_document(1), challenges_document(3), runs_document(2), _LAUNCH, _STATUS, _LOCATION, _EVENTS]
)
def test_dagster_itself_understands_what_it_is_asked(query: str) -> None:
    assert validate(create_schema().graphql_schema, parse(query)) == []

"""`loosh rescore`: what is launched, what an operator reads of it, and with what it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import loosh_pipeline.cli.rescoring as module
from loosh_pipeline.cli import app
from loosh_pipeline.settings import get_settings
from loosh_pipeline.supervisor import free_ports
from tests.graphql_server import GraphQlServer

TODAY = datetime.now(UTC).date()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GraphQlServer]:
    server = GraphQlServer()
    monkeypatch.setenv("DAGSTER_URL", server.url)
    monkeypatch.setattr(module, "POLL_S", 0.0)
    get_settings.cache_clear()
    yield server
    server.close()


def ends(server: GraphQlServer, status: str, figures: dict[str, Any]) -> None:
    server.answers["runsOrError"] = {"__typename": "Runs", "results": [{"runId": "run-1", "status": status}]}
    entries = [_entry(label, value) for label, value in figures.items()]
    made = [{"runId": "run-1", "metadataEntries": entries}, {"runId": "run-0", "metadataEntries": []}]
    server.answers["assetOrError"] = {"__typename": "Asset", "assetMaterializations": made}


def _entry(label: str, value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"label": label, "intRepr": str(value)}
    kinds = {float: "floatValue", str: "text"}
    if (kind := kinds.get(type(value))) is not None:
        return {"label": label, kind: value}
    return {"label": label, "jsonString": json.dumps(value)}


def loosh(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rescore", *arguments], env={"COLUMNS": "200"})


DAY = {
    "rescored": 12,
    "unscorable": 1,
    "round_pay_moved_mean": 0.25,
    "rank_correlation_mean": 0.5,
    "most_changed_rounds": {"c-7": 0.75},
}


def test_days_are_launched_one_by_one_with_what_is_tried(server: GraphQlServer) -> None:
    ends(server, "SUCCESS", DAY)
    since = str(TODAY - timedelta(days=1))
    found = loosh("--since", since, "--profile", "network", "--set", "relevance_gate=0.25")
    assert found.exit_code == 0
    params = [asked["params"] for operation, asked in server.asked if operation == "launchRun"]
    assert [each["executionMetadata"]["tags"] for each in params] == [
        [{"key": "dagster/partition", "value": day}, {"key": "loosh/launched-by", "value": "command"}]
        for day in (since, str(TODAY))
    ]
    assert {each["selector"]["jobName"] for each in params} == {"rescore_day"}
    config = {"profile": "network", "parameters": {"relevance_gate": 0.25}}
    assert params[0]["runConfigData"] == {"ops": {"rescored_days": {"config": config}}}
    assert "25.0%" in found.output
    assert "0.500" in found.output
    assert "1 cannot be scored" in found.output
    assert "c-7: 75.0% of the round's pay would move" in found.output


def test_challenges_have_a_run_each_and_nothing_twice(server: GraphQlServer) -> None:
    ends(server, "SUCCESS", {"scorer_version": "ab", "round_pay_moved": 0.125, "rank_correlation": "all alike"})
    found = loosh("c-1", "c-2", "c-1", "--json")
    assert found.exit_code == 0
    params = [asked["params"] for operation, asked in server.asked if operation == "launchRun"]
    assert [each["executionMetadata"]["tags"][0]["value"] for each in params] == ["c-1", "c-2"]
    assert {each["selector"]["jobName"] for each in params} == {"rescore_challenge"}
    said = json.loads(found.stdout)
    assert said["profile"] == "robust"
    assert [run["figures"]["round_pay_moved"] for run in said["runs"]] == [0.125, 0.125]


@pytest.mark.parametrize(
    ("figures", "code"),
    [({"rescored": 0, "unscorable": 0}, 3), ({"rescored": 0, "unscorable": 3}, 1), (DAY, 0)],
)
def test_with_what_it_ends(server: GraphQlServer, figures: dict[str, Any], code: int) -> None:
    ends(server, "SUCCESS", figures)
    assert loosh("--since", str(TODAY)).exit_code == code


def test_a_challenge_that_cannot_be_scored_says_why(server: GraphQlServer) -> None:
    ends(server, "SUCCESS", {"unscorable": "no table embeddings"})
    found = loosh("c-1")
    assert found.exit_code == 1
    assert "cannot be scored: no table embeddings" in found.output


def test_a_run_that_failed_says_why(server: GraphQlServer) -> None:
    ends(server, "FAILURE", {})
    error = {"message": "outer", "errorChain": [{"error": {"message": "loosh_pipeline.errors.StoreError: no room\n"}}]}
    failed = {"__typename": "ExecutionStepFailureEvent", "stepKey": "rescored_days", "error": error}
    server.answers["logsForRun"] = {**server.answers["logsForRun"], "events": [failed]}
    found = loosh("--since", str(TODAY))
    assert found.exit_code == 1
    assert "FAILURE; rescored_days failed: no room" in found.output


def test_stored_rows_that_differ_end_it_with_1_and_say_what_to_do(server: GraphQlServer) -> None:
    differ = {"differs": 2, "differing_columns": {"payout": 2}, "differing": ["c-1", "c-2"]}
    ends(server, "SUCCESS", DAY | {"unscorable": 0, "replaced": 0} | differ)
    found = loosh("--since", str(TODAY))
    assert found.exit_code == 1
    said = " ".join(found.output.replace("│", " ").split())
    assert "stored rows of 2 differ and stay (payout; c-1, c-2); --replace writes them over" in said
    one = {"scorer_version": "ab", "round_pay_moved": 0.0, "rank_correlation": 1.0, "differs": "payout, score"}
    ends(server, "SUCCESS", one | {"written": "no: the stored rows of this version differ, and stay"})
    assert loosh("c-1").exit_code == 1
    ends(server, "SUCCESS", one | {"written": "yes: stored rows that differed were written over"})
    assert loosh("c-1", "--replace").exit_code == 0
    *_, params = [asked["params"] for operation, asked in server.asked if operation == "launchRun"]
    assert params["runConfigData"]["ops"]["rescored_scores"]["config"]["replace"] is True


def test_one_question_is_about_all_runs_and_patience_begins_anew_with_each_that_ends(
    server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["run-1", "run-2", "run-3"])
    server.answers["launchRun"] = lambda: {"__typename": "LaunchRunSuccess", "run": {"runId": next(names)}}
    ended: list[str] = []
    now = [1000.0]

    def runs() -> dict[str, Any]:
        now[0] += 50.0  # beyond what is waited for, all in all
        ended.append(f"run-{len(ended) + 1}")
        kinds = {name: "SUCCESS" if name in ended else "STARTED" for name in ("run-1", "run-2", "run-3")}
        return {"__typename": "Runs", "results": [{"runId": run, "status": kind} for run, kind in kinds.items()]}

    ends(server, "SUCCESS", {"scorer_version": "ab"})
    server.answers["runsOrError"] = runs
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert loosh("c-1", "c-2", "c-3", "--within-s", "80").exit_code == 0
    asked = [variables["filter"]["runIds"] for operation, variables in server.asked if operation == "runsOrError"]
    assert asked == [["run-1", "run-2", "run-3"], ["run-2", "run-3"], ["run-3"]]


def test_a_run_that_is_no_more_is_not_waited_for(server: GraphQlServer) -> None:
    server.answers["runsOrError"] = {"__typename": "Runs", "results": []}
    found = loosh("c-1")
    assert found.exit_code == 1
    assert "UNKNOWN" in found.output


def test_patience_ends(server: GraphQlServer) -> None:
    ends(server, "STARTED", {})
    found = loosh("c-1", "--within-s", "0")
    assert found.exit_code == 1
    assert "STARTED" in found.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give ids of challenges, or days"),
        (("c-1", "--since", "2026-01-02"), "give ids of challenges, or days"),
        (("c-1", "--until", "2026-01-02"), "--until is for days"),
        (("--since", "yesterday"), "--since yesterday is no day"),
        (("--since", "2025-12-31"), "--since 2025-12-31 is before 2026-01-01, the first day"),
        (("--since", "2026-01-02", "--until", "2026-01-01"), "are none of the past"),
        (("--since", str(TODAY + timedelta(days=1))), "are none of the past"),
        (("c-1", "--profile", "best"), "there is no scoring profile 'best'"),
        (("c-1", "--set", "gate=1"), "has no parameter gate"),
        (("c-1", "--set", "power"), "--set power is no parameter with a number"),
        (("c-1", "--set", "power=x"), "--set power=x is no parameter with a number"),
        (("c-1", "--set", "power=1", "--set", "power=2"), "--set power is given twice"),
        (("c-1", "--set", "power=nan"), "give a finite number"),
        (tuple(f"c-{n}" for n in range(101)), "101 ids are many runs"),
    ],
)
def test_wrong_wishes_are_refused_before_anything_is_launched(
    server: GraphQlServer, arguments: tuple[str, ...], said: str
) -> None:
    found = loosh(*arguments)
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())
    assert not server.asked


def test_without_a_validator_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PORT", str(free_ports(1)[0]))
    get_settings.cache_clear()
    found = loosh("c-1")
    assert found.exit_code == 1
    assert "no validator runs here" in found.output

"""Looking at real stores, a scripted Dagster and an ingress over sockets; each may be away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.alerting.conditions import FailedCheck, FailedRuns, Seen, Source, standing_alerts
from loosh_pipeline.alerting.look import CHAIN_EVERY_S, Watch
from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind
from loosh_pipeline.orchestrator import PARTITION_TAG
from loosh_pipeline.retention.overdue import Overdue
from loosh_pipeline.run_state import FILE, RunState
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.frames import metagraph_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.retention_notes import Kept, RetentionNotes
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.supervisor import Death, Supervisor, free_ports
from tests.builders import metagraph
from tests.graphql_server import GraphQlServer

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def dagster() -> Iterator[GraphQlServer]:
    server = GraphQlServer()
    server.answers["runsOrError"] = {"__typename": "Runs", "results": []}
    yield server
    server.close()


@pytest.fixture
def settings(dagster: GraphQlServer) -> Settings:
    return Settings(dagster_url=dagster.url, api_port=free_ports(1)[0])


def look(settings: Settings) -> Seen:
    with closing(Watch.of(settings)) as watch:
        return watch.look(NOW)


def run(job: str, run_id: str, **tags: str) -> dict[str, Any]:
    return {"jobName": job, "runId": run_id, "tags": [{"key": key, "value": value} for key, value in tags.items()]}


def check(name: str, success: bool, severity: str = "ERROR", blocking: bool = True, **texts: str) -> dict[str, Any]:
    entries = [{"label": label, "text": text} for label, text in texts.items()]
    evaluation = {"severity": severity, "success": success, "metadataEntries": entries}
    return {"name": name, "blocking": blocking, "executionForLatestMaterialization": {"evaluation": evaluation}}


def test_a_new_validator_without_ingress_and_chain_says_so(settings: Settings) -> None:
    seen = look(settings)
    assert set(seen.blind) == {Source.INGRESS}
    assert {alert.key for alert in standing_alerts(seen)} == {"away:ingress", "chain:chain_unseen", "chain:no_hotkey"}


def test_failed_runs_are_told_by_job_with_what_the_newest_said(settings: Settings, dagster: GraphQlServer) -> None:
    failed = [run("score_challenge", "r-2", **{PARTITION_TAG: "c-2"}), run("score_challenge", "r-1"), run("x", "r-0")]
    dagster.answers["runsOrError"] = {"__typename": "Runs", "results": failed}
    event = {"__typename": "ExecutionStepFailureEvent", "stepKey": "embeddings"}
    event["error"] = {"message": "ValueError: no", "errorChain": []}  # type: ignore[assignment]
    dagster.answers["logsForRun"] = {
        "__typename": "EventConnection",
        "events": [event],
        "cursor": "1",
        "hasMore": False,
    }
    assert look(settings).failed_runs == [
        FailedRuns("score_challenge", 2, "r-2 of challenge c-2", "embeddings failed: ValueError: no"),
        FailedRuns("x", 1, "r-0", "embeddings failed: ValueError: no"),
    ]
    asked = next(variables for name, variables in dagster.asked if name == "runsOrError")
    assert asked == {"filter": {"statuses": ["FAILURE"], "updatedAfter": NOW.timestamp() - 1800}}


def test_a_failed_run_whose_events_cannot_be_read_is_told_too(settings: Settings, dagster: GraphQlServer) -> None:
    dagster.answers["runsOrError"] = {"__typename": "Runs", "results": [run("x", "r-0")]}
    dagster.answers["logsForRun"] = {"__typename": "PythonError", "message": "gone"}
    assert look(settings).failed_runs == [FailedRuns("x", 1, "r-0", "")]


def test_a_failure_is_over_when_a_later_run_of_the_job_succeeds(settings: Settings, dagster: GraphQlServer) -> None:
    failed = run("set_weights", "r-1") | {"endTime": NOW.timestamp() - 60}
    answers = iter([[failed], [], [failed], [run("set_weights", "r-2")]])
    dagster.answers["runsOrError"] = lambda: {"__typename": "Runs", "results": next(answers)}
    (stands,) = look(settings).failed_runs
    assert (stands.run_id, stands.began_at) == ("r-1", NOW - timedelta(seconds=60))
    assert look(settings).failed_runs == []
    asked = [variables["filter"] for name, variables in dagster.asked if name == "runsOrError"][-1]
    assert asked == {"pipelineName": "set_weights", "statuses": ["SUCCESS"], "updatedAfter": NOW.timestamp() - 60}


@pytest.mark.parametrize(
    ("columns", "stands"),
    [
        ("run_id = 'r-1'", True),
        ("run_id = 'r-2'", False),
        ("run_id = NULL", False),
        ("run_id = 'r-1', scored_at = '2026-11-26 12:00:00'", False),
        ("run_id = 'r-2', scored_at = '2026-11-26 11:00:00'", True),
    ],
)
def test_a_challenge_that_has_another_run_or_scores_is_no_alert(
    settings: Settings, dagster: GraphQlServer, columns: str, stands: bool
) -> None:
    """One that a stop interrupts is taken up by the next start."""
    inbox = Inbox.open(settings.inbox_url)
    inbox.accept(ChallengeId("c-1"), {"id": "c-1", "prompt": "x"}, NOW)
    with inbox.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE challenges SET {columns} WHERE id = 'c-1'")
    inbox.engine.dispose()
    failed = run("score_challenge", "r-1", **{PARTITION_TAG: "c-1"}) | {"endTime": NOW.timestamp() - 60}
    dagster.answers["runsOrError"] = {"__typename": "Runs", "results": [failed]}
    assert bool(look(settings).failed_runs) is stands


def test_checks_that_do_not_hold_are_told_but_those_of_the_chain(settings: Settings, dagster: GraphQlServer) -> None:
    dagster.answers["assetNodes"] = [
        {"assetKey": {"path": ["metagraph"]}, "assetChecksOrError": {"checks": [check("validator_in_order", False)]}},
        {"assetKey": {"path": ["challenges"]}, "assetChecksOrError": {}},
        {
            "assetKey": {"path": ["emissions"]},
            "assetChecksOrError": {
                "checks": [
                    check("sound", False, reason="NaN"),
                    check("recent", False, "WARN", reason="old"),
                    check("fine", True),
                    {"name": "never", "blocking": True, "executionForLatestMaterialization": None},
                ]
            },
        },
    ]
    assert look(settings).failed_checks == [
        FailedCheck("emissions", "sound", True, "NaN"),
        FailedCheck("emissions", "recent", False, "old"),
    ]


@pytest.mark.parametrize("answer", [(500, b"oops"), (200, b"[]"), (200, b'{"errors": [{"message": "no"}]}')])
def test_a_dagster_that_answers_nothing_of_use_is_away(
    settings: Settings, dagster: GraphQlServer, answer: tuple[int, bytes]
) -> None:
    dagster.raw["runsOrError"] = answer
    seen = look(settings)
    assert Source.DAGSTER in seen.blind
    assert seen.chain, "the rest is looked at all the same"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("runsOrError", {"__typename": "Runs", "results": [{}]}),
        ("assetNodes", [{"assetKey": {"path": ["a"]}, "assetChecksOrError": None}]),
    ],
)
def test_an_odd_answer_hides_nothing_else_and_is_logged_once(
    settings: Settings, dagster: GraphQlServer, name: str, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dagster.answers[name] = answer
    with closing(Watch.of(settings)) as watch:
        seen = [watch.look(NOW) for _ in range(2)]
    assert all(set(each.blind) == {Source.DAGSTER, Source.INGRESS} for each in seen)
    assert all(each.chain for each in seen)
    assert caplog.text.count("dagster cannot be looked at") == 1


def test_an_ingress_that_answers_something_else_is_away(settings: Settings) -> None:
    other = GraphQlServer()
    other.raw["runsOrError"] = (200, b"{}")
    try:
        seen = look(settings.model_copy(update={"api_port": int(other.url.rpartition(":")[2])}))
    finally:
        other.close()
    assert Source.INGRESS in seen.blind


def test_what_costs_much_is_asked_seldom(settings: Settings, dagster: GraphQlServer) -> None:
    dagster.answers["runsOrError"] = {"__typename": "Runs", "results": [run("x", "r-0")]}
    with closing(Watch.of(settings)) as watch:
        for seconds in range(0, 120, 15):
            seen = watch.look(NOW + timedelta(seconds=seconds))
            assert [each.run_id for each in seen.failed_runs] == ["r-0"]
    asked = [name for name, _ in dagster.asked]
    assert {name: asked.count(name) for name in asked} == {"runsOrError": 4, "logsForRun": 1, "assetNodes": 2}


def test_snapshots_that_are_gone_are_no_news_of_the_chain(settings: Settings) -> None:
    tables = Tables(settings.tables_root)
    tables.write("metagraph", TableKey.of("m", NOW), metagraph_frame(metagraph(taken_at=NOW)))
    with closing(Watch.of(settings)) as watch:
        assert Source.CHAIN not in watch.look(NOW).blind
        shutil.rmtree(settings.tables_root)
        seen = watch.look(NOW + timedelta(seconds=CHAIN_EVERY_S))
    assert "no snapshot of the chain is left" in seen.blind[Source.CHAIN]
    assert seen.chain == ()


def test_what_is_parked_is_counted_with_its_newest_reason(settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    outbox = Outbox(inbox.engine)
    for number in (1, 2):
        inbox.accept(ChallengeId(f"c-{number}"), {"id": f"c-{number}", "prompt": "x"}, NOW)
    row = inbox.get(ChallengeId("c-1"))
    with inbox.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE challenges SET next_run_at = NULL, state = 'dispatched' WHERE id = 'c-1'")
    row = inbox.get(ChallengeId("c-1"))
    assert inbox.retry(row, "died", NOW, max_attempts=0) is ChallengeState.FAILED
    outbox.keep_result(ChallengeId("c-2"), b"{}", NOW)
    (leased,) = outbox.lease(NOW, 1)
    outbox.park(leased, "HTTP 422: no")
    inbox.engine.dispose()
    seen = look(settings)
    assert (seen.parked_challenges, seen.parked_example) == (1, "c-1: died")
    assert seen.parked_deliveries == {DeliveryKind.RESPONSE_BATCH: 1}
    assert seen.refusal == "HTTP 422: no"


def test_a_store_that_cannot_be_opened_hides_nothing_else(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen = look(settings.model_copy(update={"db_path": tmp_path / "file" / "v.db"}))
    assert set(seen.blind) == {Source.STORES, Source.CHAIN, Source.INGRESS}


def test_what_the_supervisor_says_is_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor((), settings.home / "logs", print)
    death = Death(NOW, "ended with code 1")
    monkeypatch.setattr(supervisor, "deaths", lambda: {"worker": (death,)})
    settings.home.mkdir(parents=True)
    RunState(settings.home, supervisor).keep()
    assert look(settings).deaths == {"worker": [death]}


def test_a_death_at_a_time_without_a_zone_is_none(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    state = {"pids": {}, "deaths": {"worker": [{"at": "2026-11-26T00:00:00", "why": "ended"}]}}
    (settings.home / FILE).write_text(json.dumps(state))
    assert look(settings).deaths == {}


def test_history_that_is_not_pruned_is_told(settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    RetentionNotes(inbox.engine).note_pruned(NOW - timedelta(hours=71))
    assert look(settings).overdue is None
    RetentionNotes(inbox.engine).note_kept(Kept(30_000, "backfill abc: 9,000"), NOW)
    assert "held by: backfill abc: 9,000" in (look(settings).overdue or Overdue("")).text
    RetentionNotes(inbox.engine).note_kept(Kept(20_000, "nothing"), NOW)
    RetentionNotes(inbox.engine).note_pruned(NOW - timedelta(days=4))
    assert look(settings).overdue == Overdue("Dagster's history has not been pruned to the end for 4 days")
    inbox.engine.dispose()

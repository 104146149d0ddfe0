"""/metrics as Prometheus reads it: true, bounded, for those it is for, and never in the way of a challenge."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from ingress import measured_machine, progress
from ingress import metrics as module
from ingress.counting import Counting
from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind, Outcome
from loosh_pipeline.processes import Process
from loosh_pipeline.run_state import FILE
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.wire.pushing import CHALLENGES_PATH
from tests.ingress.conftest import AWAY, HERE, Serve, body_of, post

KEY = "canary-push-key"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept: each scrape tells how it is."""
    for name in ("QUICK_S", "SLOW_S", "RARE_S"):
        monkeypatch.setattr(module, name, 0.0)


def scraped(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families), "each is told once"
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def push(client: TestClient, challenge_id: str) -> int:
    return int(post(client, body_of(challenge_id), {"content-type": "application/json"}).status_code)


@pytest.mark.parametrize(
    ("client", "changes", "headers", "status"),
    [
        (HERE, {}, {}, 200),
        (AWAY, {}, {}, 403),
        (AWAY, {"metrics_public": True}, {}, 200),
        (AWAY, {"challenge_push_api_key": KEY}, {"authorization": f"Bearer {KEY}"}, 200),
        (AWAY, {"challenge_push_api_key": KEY}, {"x-api-key": "another"}, 403),
        (AWAY, {"pages_public": True}, {}, 403),
        (HERE, {"intake_local_auth": True}, {}, 403),
    ],
)
def test_who_may_see_metrics(
    serve: Serve, client: tuple[str, int], changes: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    answer = serve(client, **changes).get("/metrics", headers=headers)
    assert answer.status_code == status
    assert KEY not in answer.text
    assert ("loosh_build_info" in answer.text) == (status == 200)


def test_the_newer_format_is_spoken_to_who_asks_for_it(serve: Serve) -> None:
    answer = serve(HERE).get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert "openmetrics" in answer.headers["content-type"]
    assert {"loosh_backlog", "loosh_intake_requests"} <= {family.name for family in open_metrics(answer.text)}


def test_requests_are_counted_by_what_became_of_them(serve: Serve) -> None:
    client = serve(HERE, intake_max_body_bytes=2000)
    for challenge_id in ("c-1", "c-2", "c-1"):
        push(client, challenge_id)
    client.post("/challenges", content=b"{", headers={"content-type": "application/json"})
    client.post("/challenges", content=b"x" * 3000, headers={"content-type": "application/json"})
    client.post("/challenges", content=b"x")
    client.post("/fiber/challenge", content=b"x")
    found = scraped(client)
    plain = {
        result: value(found, "loosh_intake_requests_total", route="plain", result=result)
        for result in ("accepted", "duplicate", "not_understood", "too_large", "not_authorised", "other")
    }
    assert plain == {
        "accepted": 2,
        "duplicate": 1,
        "not_understood": 2,
        "too_large": 1,
        "not_authorised": 0,
        "other": 0,
    }
    assert value(found, "loosh_intake_requests_total", route="encrypted", result="not_understood") == 1


def test_a_request_that_is_cancelled_has_hung_up() -> None:
    registry, counts = module.registry_and_counts()

    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    scope = {"type": "http", "path": CHALLENGES_PATH, "method": "POST"}
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Counting(cancelled, counts=counts)(scope, None, None))  # type: ignore[arg-type]
    labels = {"route": "plain", "result": "hung_up"}
    assert registry.get_sample_value("loosh_intake_requests_total", labels) == 1


def test_no_stranger_makes_a_label(serve: Serve) -> None:
    client = serve(HERE)
    before = set(scraped(client))
    push(client, "<script>\n")
    client.post("/challenges/evil", content=b"x", headers={"x-hotkey": "5Evil", "user-agent": "evil"})
    client.request("EVIL", "/challenges")
    after = scraped(client)
    assert {name for name, _ in after} == {name for name, _ in before}
    assert "evil" not in str(after).lower()
    assert "script" not in str(after)


@pytest.fixture
def evaluated(settings: Settings, databases: None) -> Iterator[Inbox]:
    """An inbox whose challenges a test moves on, as workers do."""
    inbox = Inbox.open(settings.inbox_url)
    yield inbox
    inbox.engine.dispose()


def move(inbox: Inbox, challenge_id: str, state: ChallengeState, **changes: object) -> None:
    columns = {"state": state.value, "next_run_at": None, **changes}
    names = ", ".join(f"{name} = :{name}" for name in columns)
    with inbox.engine.begin() as connection:
        connection.execute(text(f"UPDATE challenges SET {names} WHERE id = :id"), {**columns, "id": challenge_id})


def keep_answers(settings: Settings, inbox: Inbox, challenge_id: str, *outcomes: Outcome) -> None:
    codes = [outcome.value for outcome in outcomes]
    frame = pl.DataFrame({"outcome": codes, "elapsed_ms": [1500.0] * len(codes), "text": ["x"] * len(codes)})
    key = TableKey.of(challenge_id, inbox.get(ChallengeId(challenge_id)).received_at)
    Tables(settings.tables_root).write("miner_responses", key, frame)


def test_a_challenge_is_followed_to_its_scores_and_its_delivery(
    serve: Serve, settings: Settings, evaluated: Inbox
) -> None:
    client = serve(HERE, challenge_api_url="http://127.0.0.1:1")
    for challenge_id in ("c-1", "c-2", "c-3"):
        assert push(client, challenge_id) == 201
    found = scraped(client)
    assert value(found, "loosh_backlog", state="received") == 3
    assert value(found, "loosh_challenge_scored_seconds_count") == 0

    keep_answers(settings, evaluated, "c-1", Outcome.ANSWERED, Outcome.ANSWERED, Outcome.TIMEOUT)
    at = {c: evaluated.get(ChallengeId(c)).received_at for c in ("c-1", "c-2")}
    times = {
        name: (at["c-1"] + timedelta(seconds=s)).replace(tzinfo=None).isoformat(" ")
        for name, s in (("collected_at", 4), ("scored_at", 7))
    }
    move(evaluated, "c-1", ChallengeState.SCORED, attempts=2, asked=3, answered=2, **times)
    move(evaluated, "c-2", ChallengeState.FAILED, attempts=150)
    found = scraped(client)
    assert value(found, "loosh_challenge_collected_seconds_sum") == 4
    assert value(found, "loosh_challenge_scored_seconds_bucket", le="8.0") == 1
    assert value(found, "loosh_challenge_scored_seconds_sum") == 7
    assert value(found, "loosh_challenge_delivered_seconds_count") == 0
    assert value(found, "loosh_evaluations_total", result="scored") == 1
    assert value(found, "loosh_evaluations_total", result="failed") == 1
    assert value(found, "loosh_evaluation_attempts_sum") == 152
    assert value(found, "loosh_miner_outcomes_total", outcome="answered") == 2
    assert value(found, "loosh_miner_outcomes_total", outcome="timeout") == 1
    assert value(found, "loosh_miner_answer_seconds_sum") == 3
    assert value(found, "loosh_backlog", state="received") == 1

    told = (at["c-1"] + timedelta(seconds=9)).replace(tzinfo=None).isoformat(" ")
    move(evaluated, "c-1", ChallengeState.SUBMITTED, submitted_at=told)
    for _ in range(2):
        found = scraped(client)
        assert value(found, "loosh_challenge_delivered_seconds_sum") == 9
        assert value(found, "loosh_challenge_scored_seconds_count") == 1, "each is counted once"


def test_totals_come_from_the_database_and_outlive_a_restart(
    serve: Serve, settings: Settings, evaluated: Inbox
) -> None:
    push(serve(HERE), "c-1")
    move(evaluated, "c-1", ChallengeState.SUBMITTED, asked=5, answered=4)
    found = scraped(serve(HERE))
    assert value(found, "loosh_challenges_accepted_total") == 1
    assert value(found, "loosh_challenges", state="submitted") == 1
    assert value(found, "loosh_miners_asked_total") == 5
    assert value(found, "loosh_miners_answered_total") == 4
    assert value(found, "loosh_intake_requests_total", route="plain", result="accepted") == 0, "of this process"


def test_a_challenge_of_before_a_restart_is_followed_too(serve: Serve, evaluated: Inbox) -> None:
    push(serve(HERE), "c-1")
    client = serve(HERE)
    move(evaluated, "c-1", ChallengeState.FAILED)
    assert value(scraped(client), "loosh_evaluations_total", result="failed") == 1


def test_without_a_challenge_api_no_delivery_is_waited_for(serve: Serve, evaluated: Inbox) -> None:
    client = serve(HERE)
    push(client, "c-1")
    move(evaluated, "c-1", ChallengeState.SCORED)
    scraped(client)
    assert not client.app.state.parts.metrics.progress._untold  # type: ignore[attr-defined]


def test_a_challenge_that_was_given_up_and_is_retried_is_counted_again(serve: Serve, evaluated: Inbox) -> None:
    client = serve(HERE)
    push(client, "c-1")
    for state, counts in (("failed", (0, 1)), ("received", (0, 1)), ("scored", (1, 1))):
        move(evaluated, "c-1", ChallengeState(state))
        found = scraped(client)
        assert tuple(value(found, "loosh_evaluations_total", result=r) for r in ("scored", "failed")) == counts


def test_of_a_backlog_longer_than_what_is_read_all_have_their_turn(
    serve: Serve, evaluated: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(HERE)
    for number in range(12):
        push(client, f"c-{number:02}")
    move(evaluated, "c-11", ChallengeState.SCORED)
    monkeypatch.setattr(progress, "READ_AT_ONCE", 4)
    monkeypatch.setattr(progress, "AT_ONCE", 3)
    for _ in range(4):
        found = scraped(client)
    assert value(found, "loosh_evaluations_total", result="scored") == 1


def test_more_challenges_than_are_followed_at_once_are_not_taken_for_evaluated(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(HERE)
    for number in range(5):
        push(client, f"c-{number}")
    monkeypatch.setattr(progress, "MOST", 2)
    monkeypatch.setattr(progress, "READ_AT_ONCE", 2)
    found = scraped(client)
    assert value(found, "loosh_evaluations_total", result="scored") == 0
    assert value(found, "loosh_backlog", state="received") == 5


def test_answers_that_cannot_be_read_hide_no_others(serve: Serve, settings: Settings, evaluated: Inbox) -> None:
    client = serve(HERE)
    for challenge_id in ("c-1", "c-2", "c-3"):
        push(client, challenge_id)
        move(evaluated, challenge_id, ChallengeState.SCORED, asked=1)
    keep_answers(settings, evaluated, "c-1", Outcome.EMPTY)
    key = TableKey.of("c-2", evaluated.get(ChallengeId("c-2")).received_at)
    Path(Tables(settings.tables_root).path("miner_responses", key)).write_bytes(b"torn")
    found = scraped(client)
    assert value(found, "loosh_miner_outcomes_total", outcome="empty") == 1
    assert value(found, "loosh_evaluations_total", result="scored") == 3


def test_what_is_not_delivered_is_told_with_its_age(serve: Serve, evaluated: Inbox) -> None:
    client = serve(HERE)
    push(client, "c-1")
    outbox = Outbox(evaluated.engine)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    outbox.keep_result(ChallengeId("c-1"), b"{}", hour_ago)
    outbox.keep_reports(DeliveryKind.SYBIL_REPORT, {"a": b"{}"}, hour_ago)
    leased = next(row for row in outbox.lease(datetime.now(UTC), 2) if row.kind is DeliveryKind.SYBIL_REPORT)
    outbox.park(leased, "HTTP 422")
    found = scraped(client)
    assert value(found, "loosh_deliveries", kind="response_batch", state="pending") == 1
    assert value(found, "loosh_deliveries", kind="sybil_report", state="parked") == 1
    assert 3600 <= value(found, "loosh_delivery_oldest_seconds", kind="response_batch", state="pending") < 3700


def test_a_part_that_cannot_be_counted_is_noted_and_hides_no_other(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> Any:
        raise OSError("gone")

    monkeypatch.setattr(module, "disks", fails)
    client = serve(HERE)
    for _ in range(2):
        found = scraped(client)
    assert value(found, "loosh_metrics_failures_total", part="disks") >= 1
    assert value(found, "loosh_healthy") == 1
    assert not any(name == "loosh_disk_free_bytes" for name, _ in found)
    assert caplog.text.count("the metrics of disks cannot be counted") == 1


def test_figures_are_kept_for_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK_S", 3600.0)
    client = serve(HERE)
    assert value(scraped(client), "loosh_backlog", state="received") == 0
    push(client, "c-1")
    found = scraped(client)
    assert value(found, "loosh_backlog", state="received") == 0
    assert value(found, "loosh_intake_requests_total", route="plain", result="accepted") == 1


def test_a_slow_scrape_holds_up_no_challenge_and_no_queue_of_scrapes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, go = threading.Event(), threading.Event()

    def slow(*_: object) -> Any:
        counting.set()
        go.wait(10)
        return ()

    monkeypatch.setattr(module, "disks", slow)
    monkeypatch.setattr(module, "ONE_AT_A_TIME_S", 0.05)
    client = serve(HERE)
    scrape = threading.Thread(target=client.get, args=("/metrics",))
    scrape.start()
    try:
        assert counting.wait(10)
        started_s = time.monotonic()
        assert push(client, "c-1") == 201
        assert client.get("/metrics").status_code == 503
        assert time.monotonic() - started_s < 5
    finally:
        go.set()
        scrape.join()


def test_the_machine_is_told_by_service(serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    death = {"at": datetime.now(UTC).isoformat(), "why": "ended with code 1"}
    state = {
        "pids": {"ingress": os.getpid(), "worker": 999_999_999},
        "deaths": {"worker": [death]},
        "died": {"worker": 25},
    }
    (settings.home / FILE).write_text(json.dumps(state))
    monkeypatch.setattr(measured_machine, "processes_of", lambda _: [Process(os.getpid(), 1, "python")])
    found = scraped(serve(HERE))
    assert value(found, "loosh_service_up", service="ingress") == 1
    assert value(found, "loosh_service_up", service="worker") == 0
    assert value(found, "loosh_service_deaths_total", service="worker") == 25
    assert value(found, "loosh_service_memory_bytes", service="ingress") > 1e6
    assert value(found, "loosh_service_cpu_seconds_total", service="ingress") > 0
    assert value(found, "loosh_disk_free_bytes", of="home") > 0


def test_processor_time_does_not_go_back_when_a_child_ends_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text(json.dumps({"pids": {"worker": 10}, "deaths": {}}))
    children = [Process(10, 1, "worker"), Process(11, 10, "child")]
    cpu_s = {10: 5.0, 11: 900.0}
    began = 7
    monkeypatch.setattr(measured_machine, "processes_of", lambda _: children)
    monkeypatch.setattr(measured_machine, "_stat", lambda pid: measured_machine._Stat(cpu_s[pid], began))
    asked: list[int] = []
    monkeypatch.setattr(measured_machine, "_memory_bytes", lambda pid: asked.append(pid) or 1)
    services = measured_machine.Services(tmp_path)

    def told() -> float:
        samples = [sample for family in services.measured() for sample in family.samples]
        return next(sample.value for sample in samples if sample.name == "loosh_service_cpu_seconds_total")

    assert told() == 905
    del children[1]  # it ends after its parent was read
    assert told() == 905
    cpu_s[10] = 906.0
    assert told() == 906
    cpu_s[10], began = 1.0, 8
    assert told() == 1, "of another process with its number"
    assert asked == [10, 11, 10], "memory costs much, and is looked at seldom"


def test_an_embedder_that_is_away_is_told(serve: Serve) -> None:
    assert value(scraped(serve(HERE, embedder_url="http://127.0.0.1:1")), "loosh_embedder_up") == 0

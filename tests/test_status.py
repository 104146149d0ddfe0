"""What `loosh status` shows is what the stores and ports say."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from loosh_pipeline.alerting.book import Book, Hook, keep
from loosh_pipeline.chain.endpoints import ENDPOINTS_FILE, Endpoints
from loosh_pipeline.domain import ChallengeId, DeliveryKind
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.processes import Process
from loosh_pipeline.services import planned
from loosh_pipeline.settings import Settings
from loosh_pipeline.status import status_facts, status_tables
from loosh_pipeline.store.frames import metagraph_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.supervisor import free_ports
from tests.builders import metagraph, response


def shown(settings: Settings) -> list[list[str]]:
    """The cells of every row, without rules."""
    console = Console(file=StringIO(), width=200)
    for table in status_tables(settings):
        console.print(table)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]


def quiet() -> Settings:
    api, web, code, embedder = free_ports(4)
    return Settings(api_port=api, dagster_port=web, code_server_port=code, embedder_port=embedder)


NOT_UP = "no: no validator runs here; start `loosh up`"


def test_a_webhook_that_takes_nothing_is_shown(own_home: Path) -> None:
    at, settings = datetime.now(UTC), quiet()
    own_home.mkdir(parents=True, exist_ok=True)
    keep(own_home, Book(hook=Hook(failing_since=at, said="HTTP 404", attempts=3)))
    assert not any("HTTP 404" in row for row in shown(settings)), "nobody is to be told"
    told = settings.model_copy(update={"alert_webhook_url": SecretStr("https://hooks.example/x")})
    assert [f"{at:%Y-%m-%d %H:%M}", "3", "HTTP 404"] in shown(told)


def test_a_new_validator_shows_that_nothing_was_seen() -> None:
    rows = shown(quiet())
    for row in (["accepted", "0"], ["metagraph", "not seen yet"], ["taking challenges", NOT_UP]):
        assert row in rows
    assert [row[0] for row in rows if row[0] in ("chain_unseen", "no_hotkey")] == ["chain_unseen", "no_hotkey"]
    stopped = [row[0] for row in rows if row[1:2] == ["stopped"]]
    assert stopped == [
        *("ingress", "code-server", "embedder", "worker", "upkeep", "dagster-webserver", "dagster-daemon"),
    ]
    assert ["backlog", "0"] in rows
    assert [row[1] for row in rows if row[0] == "broker"] == ["reachable"]


def test_a_working_one_shows_its_figures() -> None:
    now = datetime.now(UTC)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = quiet().model_copy(update={"api_port": listener.getsockname()[1]})
        inbox = Inbox.open(settings.inbox_url)
        for number in range(3):
            inbox.accept(ChallengeId(f"c-{number}"), {"id": f"c-{number}", "prompt": "hi"}, now)
        inbox.collected(ChallengeId("c-0"), [response()], now)
        outbox = Outbox(inbox.engine)
        outbox.keep_result(ChallengeId("c-0"), b"{}", now)
        outbox.keep_reports(DeliveryKind.PENALTY_REPORT, {"digest": b"{}"}, now)
        leased = {row.kind: row for row in outbox.lease(now, 9)}
        outbox.park(leased[DeliveryKind.PENALTY_REPORT], "HTTP 422: [bold]no[/]")
        outbox.postpone(leased[DeliveryKind.RESPONSE_BATCH], "ConnectError: [i]gone[/]", now, 3600.0)
        inbox.set_running(False, now)
        tables = Tables(settings.tables_root)
        taken_at = now - timedelta(seconds=90)
        tables.write("metagraph", TableKey.of("m", now), metagraph_frame(metagraph(taken_at=taken_at)))
        with validator_lock(settings.home):
            rows = shown(settings)

    for row in (
        ["accepted", "3"],
        ["received", "2"],
        ["scored", "1"],
        ["miners asked", "1"],
        ["answered", "1"],
        ["results pending", "1"],
        ["reports and pictures parked", "1"],
        ["penalty_report", "digest", "HTTP 422: [bold]no[/]"],
        ["taking challenges", "no: stopped with /set_running"],
        ["metagraph", "block 100, 90 s old, 4 neurons"],
        ["weights", "never set from here"],
        ["ingress", "listens", "", f"127.0.0.1:{settings.api_port}"],
    ):
        assert row in rows
    (waiting,) = (row for row in rows if row[:2] == ["response_batch", "c-0"])
    assert waiting[2:4] == ["1", "ConnectError: [i]gone[/]"]
    assert waiting[4].startswith("in 3")


def test_who_holds_the_port_of_a_validator_that_does_not_run_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        facts = status_facts(quiet().model_copy(update={"api_port": port}))
    said = facts["not_taking_because"]
    assert said.startswith(f"no validator runs here; port {port} (API_PORT) is in use by ")
    assert f"(pid {os.getpid()})" in said
    assert not facts["taking_challenges"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": "healthy", "reasons": []}, None),
        ({"status": "unhealthy", "reasons": ["the disk is full", "[b]"]}, "the disk is full; [b]"),
        (["a stranger"], "its ingress says nothing of its health (TypeError); it may be starting"),
    ],
)
def test_the_ingress_says_whether_challenges_are_taken(
    monkeypatch: pytest.MonkeyPatch, own_home: Path, answer: object, said: str | None
) -> None:
    monkeypatch.setattr(httpx.Client, "get", lambda *_: httpx.Response(200, json=answer))
    with validator_lock(own_home):
        facts = status_facts(quiet())
    assert facts["taking_challenges"] is (said is None)
    assert facts["not_taking_because"] is said or facts["not_taking_because"].startswith(said)


@pytest.mark.parametrize(
    ("age_s", "failed", "reached"), [(90, 0, True), (90, 1, True), (90, 2, False), (700, 0, False)]
)
def test_a_chain_that_is_away_is_said(age_s: int, failed: int, reached: bool) -> None:
    now = datetime.now(UTC)
    settings = quiet().model_copy(update={"subtensor_fallbacks": ("ws://127.0.0.1:2",)})
    known = Endpoints(settings.chain_endpoints, settings.home / ENDPOINTS_FILE)
    for address in settings.chain_endpoints[:failed]:
        known.failed(address, now)
    seen = metagraph(taken_at=now - timedelta(seconds=age_s))
    Tables(settings.tables_root).write("metagraph", TableKey.of("m", now), metagraph_frame(seen))
    said = [row[1] for row in shown(settings) if row[0] == "chain"]
    since = f"not reached since {seen.taken_at:%Y-%m-%d %H:%M:%S} UTC; `loosh chain status` asks it"
    assert said == ([] if reached else [since])
    assert status_facts(settings)["chain"]["reached"] is reached


def test_a_program_is_told_the_same() -> None:
    now = datetime.now(UTC)
    settings = quiet().model_copy(update={"embedder_url": "http://embedder:8801"})
    inbox = Inbox.open(settings.inbox_url)
    inbox.accept(ChallengeId("c-0"), {"id": "c-0", "prompt": "hi"}, now - timedelta(seconds=30))
    facts = status_facts(settings)
    assert (facts["taking_challenges"], facts["challenges"]["backlog"]) == (False, 1)
    assert facts["challenges"]["oldest_waits_s"] >= 30
    assert facts["broker"]["reachable"]
    states = {each["name"]: each["state"] for each in facts["processes"]}
    assert states.pop("embedder") == "elsewhere"
    assert set(states.values()) == {"stopped"}
    assert len(states) == 6


def test_a_broker_that_is_away_is_said_without_its_password() -> None:
    (port,) = free_ports(1)
    url = SecretStr(f"redis://user:secret-word@127.0.0.1:{port}/0")
    broker = status_facts(quiet().model_copy(update={"celery_broker_url": url}))["broker"]
    assert (broker["reachable"], broker["at"]) == (False, f"redis://127.0.0.1:{port}")
    assert "secret-word" not in str(broker)


def test_processes_are_told_by_their_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's forked children have its command line; the parent of them all counts."""
    settings = quiet()
    words = {each.name: " ".join(each.command[1:]) for each in planned(settings)}
    running = [
        Process(10, 1, f"/usr/bin/python {words['worker']} "),
        Process(11, 10, f"/usr/bin/python {words['worker']} "),
        Process(12, 1, f"/usr/bin/python {words['upkeep']} "),
        Process(13, 1, f"/usr/bin/python {words['ingress']} "),
    ]
    monkeypatch.setattr("loosh_pipeline.status.processes_of", lambda _home: running)
    found = {each["name"]: (each["pid"], each["state"]) for each in status_facts(settings)["processes"]}
    assert (found["worker"], found["upkeep"], found["ingress"]) == ((10, "runs"), (12, "runs"), (13, "starting"))
    assert found["dagster-daemon"] == (None, "stopped")

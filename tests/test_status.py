"""What `loosh status` shows is what the stores and ports say."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from loosh_pipeline.alerting.book import Book, Hook, keep
from loosh_pipeline.domain import ChallengeId, DeliveryKind
from loosh_pipeline.settings import Settings
from loosh_pipeline.status import status_tables
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


NOT_UP = "no: the ingress does not listen; start `loosh up`"


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
    assert [row[-1] for row in rows if len(row) == 3][-5:] == ["listens", "no", "no", "no", "no"]


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
        ["ingress", str(settings.api_port), "yes"],
    ):
        assert row in rows
    (waiting,) = (row for row in rows if row[:2] == ["response_batch", "c-0"])
    assert waiting[2:4] == ["1", "ConnectError: [i]gone[/]"]
    assert waiting[4].startswith("in 3")

"""`loosh alerts` and `loosh alerts test`, as a terminal and a program see them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from loosh_pipeline.cli.app import app
from loosh_pipeline.settings import get_settings
from loosh_pipeline.supervisor import free_ports
from tests.alerting.receiver import Answer, Receiver


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("ALERT_WEBHOOK_URL", receiver.url)
    yield receiver
    receiver.close()


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, port in zip(("API_PORT", "DAGSTER_PORT"), free_ports(2), strict=True):
        monkeypatch.setenv(name, str(port))


def loosh(*arguments: str, code: int = 0) -> str:
    get_settings.cache_clear()
    done = CliRunner().invoke(app, ["alerts", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 or "--json" in arguments else done.output


def test_what_stands_is_listed_for_a_program(receiver: Receiver) -> None:
    said = json.loads(loosh("--json", code=1))
    assert {"away:ingress", "away:dagster", "chain:no_hotkey"} <= {each["key"] for each in said["alerts"]}
    assert said["webhook"] == {
        "set": True,
        "told_at": None,
        "failing_since": None,
        "said": "",
        "attempts": 0,
        "next_at": None,
    }
    assert receiver.bodies == [], "listing tells nobody"


def test_what_stands_is_listed_for_people() -> None:
    said = loosh(code=1)
    assert "critical  the wallet's hotkey cannot be read\n          → run `loosh wallet new`" in said
    assert "since" not in said, "nobody watched, and nothing says since when"
    assert "ALERT_WEBHOOK_URL is not set: nobody is told" in said


def test_a_test_message_is_sent_and_taken(receiver: Receiver) -> None:
    assert "the webhook took it" in loosh("test")
    assert json.loads(loosh("test", "--json")) == {"sent": True}
    assert "this is a test" in receiver.texts[0]


def test_a_refusal_is_told_without_the_address(receiver: Receiver) -> None:
    receiver.script = [Answer(404, b"no_service c4nary-hook-key-of-an-operator")]
    said = loosh("test", code=1)
    assert "HTTP 404: no_service" in said
    assert "c4nary" not in said


def test_without_a_webhook_there_is_nothing_to_test() -> None:
    assert "ALERT_WEBHOOK_URL is not set" in loosh("test", code=2)

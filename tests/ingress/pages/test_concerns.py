"""What the overview says first, and of each process: of what was seen, alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ingress.health import STOPPED
from ingress.pages.concerns import RESUME, concerns, headline
from ingress.pages.processes import process_lines
from loosh_pipeline.alerting.conditions import Alert, Severity, Source
from loosh_pipeline.supervisor import Death
from tests.ingress.pages.test_overview import CHAIN, HOST, seen


def alert(severity: Severity, key: str = "k") -> Alert:
    return Alert(key, Source.CHAIN, severity, f"{severity} text", "do this")


def process(name: str, state: str) -> dict[str, Any]:
    return {"name": name, "pid": None, "port": 1, "state": state, "at": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("reasons", "severities", "tone", "text"),
    [
        ((), (), "good", "All is well: challenges are taken."),
        ((), (Severity.WARNING,), "warn", "Challenges are taken; one thing needs a look."),
        ((), (Severity.WARNING, Severity.CRITICAL), "bad", "Challenges are taken; 2 things need a look."),
        (("the disk is full",), (), "bad", "No challenge is taken now."),
    ],
)
def test_a_sentence_says_how_it_is(
    reasons: tuple[str, ...], severities: tuple[Severity, ...], tone: str, text: str
) -> None:
    view = seen(alerts=[alert(each) for each in severities], processes=())
    said = headline(reasons, view)
    assert (said.tone, said.text) == (tone, text)
    assert len(concerns(reasons, view)) == len(reasons) + len(severities)


def test_what_is_worst_comes_first_and_everything_says_what_to_do() -> None:
    alerts = (alert(Severity.WARNING), alert(Severity.CRITICAL, "unwell"))
    stopped = (process("ingress", "stopped"), process("embedder", "stopped"), process("worker", "runs"))
    broker = {"at": "redis://x", "reachable": False, "problem": "cannot be reached"}
    away = {**CHAIN, "reached": False}
    found = concerns((STOPPED,), seen(alerts=alerts, processes=stopped, broker=broker, chain=away))
    assert [(each.tone, each.text) for each in found] == [
        ("bad", f"no challenge is taken: {STOPPED}"),
        ("bad", "embedder does not run on this machine"),
        ("bad", "the broker cannot be reached"),
        ("warn", "warning text"),
        ("warn", "no endpoint of the chain answers"),
    ]
    assert all("`loosh " in each.action or each.action == RESUME for each in found)
    assert all(each.lead.name for each in found)
    assert "/set_running" in found[0].action


def test_while_nothing_was_seen_the_ingress_speaks_for_itself() -> None:
    assert concerns((), None) == []
    assert headline((), None).tone is None
    assert headline((), None).text.startswith("Looking…")
    assert len(concerns(("the disk is full",), None)) == 1


def test_each_process_of_one_machine_has_its_state() -> None:
    names = ("ingress", "embedder", "code-server", "dagster-webserver", "dagster-daemon", "worker", "upkeep", "alerts")
    states = ("stopped", "listens", "starting", "runs", "stopped", "runs", "runs", "runs")
    view = seen(processes=[process(*each) for each in zip(names, states, strict=True)])
    lines = {each.name: each for each in process_lines(view)}
    assert list(lines) == list(names)
    assert [each.tone for each in lines.values()] == ["good", "warn", "warn", "good", "bad", "good", "good", "good"]
    assert lines["ingress"].state == "runs", "it says so itself"
    assert lines["dagster-daemon"].note == "it was not started"


def test_a_process_that_ended_by_itself_says_how() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    deaths = {"worker": [Death(at, "x"), Death(at, "was ended by SIGKILL")], "upkeep": [Death(at, "ended with 1")]}
    view = seen(processes=[process("worker", "runs"), process("upkeep", "stopped")], deaths=deaths)
    notes = {each.name: each.note for each in process_lines(view)}
    assert notes["worker"] == "ended 2 times lately; the last time, at 2026-01-02 03:04:05, it was ended by SIGKILL"
    assert notes["upkeep"].startswith("ended once lately")


def test_of_what_runs_on_other_machines_it_says_what_is_known() -> None:
    gone = {**HOST, "host": "gone", "heard": False}
    second = {**HOST, "host": "second", "busy": 2}
    view = seen(processes=[process("ingress", "runs")], hosts=(HOST, second, gone))
    lines = {each.name: each for each in process_lines(view)}
    assert lines["worker"].note == "8 processes on 2 machines, 3 busy"
    assert (lines["upkeep"].tone, lines["upkeep"].note) == ("bad", "no machine is heard of")
    assert lines["dagster-daemon"].note == "Dagster answers"
    assert (lines["embedder"].tone, lines["embedder"].state) == (None, "elsewhere"), "nobody looked at it"
    away = seen(processes=(), blind={Source.DAGSTER: "it answered HTTP 502"})
    of_dagster = next(each for each in process_lines(away) if each.name == "code-server")
    assert (of_dagster.tone, of_dagster.note) == ("bad", "Dagster does not answer: it answered HTTP 502")

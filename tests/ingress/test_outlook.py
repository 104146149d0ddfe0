"""Looking around holds no page up, whatever hangs, and what goes wrong with it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ingress import outlook
from ingress.outlook import Outlook, View
from ingress.pages.concerns import headline
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import free_ports


@pytest.fixture
def look(settings: Settings) -> Iterator[Outlook]:
    (port,) = free_ports(1)
    away = settings.model_copy(update={"dagster_port": port})
    around = Outlook(away, Inbox.open(settings.inbox_url), lambda: ["the disk is full"])
    yield around
    around.close()


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_it_tells_what_alerts_would_and_how_processes_are(look: Outlook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "WITHIN_S", 60.0)
    view = look()
    assert view is not None
    keys = {each.key for each in view.alerts}
    assert {"unwell", "chain:chain_unseen", "away:dagster"} <= keys
    assert next(each for each in view.alerts if each.key == "unwell").text.endswith("the disk is full")
    assert {each["name"]: each["state"] for each in view.processes}["worker"] == "stopped"
    assert view.broker is not None
    assert view.broker["reachable"]
    assert (view.chain["block"], view.chain.get("next_weights")) == (None, None)
    assert "endpoint" not in view.chain


def test_who_asks_again_soon_is_told_the_same(look: Outlook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "WITHIN_S", 60.0)
    first = look()
    assert look() is first
    monkeypatch.setattr(outlook, "KEPT_S", 0.0)
    assert look() is not first


def test_what_hangs_holds_nobody_up_and_one_look_is_taken_at_a_time(
    look: Outlook, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    go_on = threading.Event()
    view: list[View] = []

    def slow(self: Outlook, now: object) -> View:
        looks.append(1)
        go_on.wait(60)
        return outlook._nothing(now, RuntimeError("x"))  # type: ignore[arg-type]

    monkeypatch.setattr(Outlook, "_look", slow)
    monkeypatch.setattr(outlook, "WITHIN_S", 0.01)
    monkeypatch.setattr(outlook, "KEPT_S", 0.0)
    assert [look() for _ in range(3)] == [None] * 3
    assert len(looks) == 1
    go_on.set()
    until(lambda: look() is not None)
    assert not view


def test_what_was_seen_long_ago_is_not_told_and_a_look_that_hangs_is(
    look: Outlook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "WITHIN_S", 60.0)
    monkeypatch.setattr(Outlook, "_look", lambda self, now: View(now, (), {}, (), None, (), {}))
    seen = look()
    assert seen is not None
    go_on = threading.Event()
    monkeypatch.setattr(Outlook, "_look", lambda self, now: go_on.wait(60) and View(now, (), {}, (), None, (), {}))
    for name in ("WITHIN_S", "KEPT_S", "STALE_S"):
        monkeypatch.setattr(outlook, name, 0.01 if name == "WITHIN_S" else 0.0)
    assert look() is None
    assert headline((), None).text == "Looking… challenges are taken; the rest was not seen yet."
    monkeypatch.setattr(outlook, "HANGS_S", 0.0)
    hanging = look()
    assert hanging is not None
    assert hanging.at == seen.at
    assert "could not be looked at since" in hanging.alerts[0].text
    assert headline((), hanging).tone == "bad"
    go_on.set()
    monkeypatch.setattr(outlook, "STALE_S", 60.0)
    until(lambda: (view := look()) is not None and not view.alerts)


def test_what_goes_wrong_is_an_alert_itself(look: Outlook, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise PermissionError("no /proc")

    monkeypatch.setattr(outlook, "WITHIN_S", 60.0)
    monkeypatch.setattr(outlook, "processes_facts", broken)
    view = look()
    assert view is not None
    assert [each.text for each in view.alerts] == ["this validator cannot be looked at (PermissionError: no /proc)"]

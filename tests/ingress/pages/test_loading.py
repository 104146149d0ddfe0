"""What takes long to load is loaded once, beside the pages, and no page waits for it."""

from __future__ import annotations

import threading
import time

import pytest

from ingress.pages import loading
from ingress.pages.loading import Loading


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "AFTER_S", 0.0)


def until_over(found: Loading) -> None:
    give_up_s = time.monotonic() + 60
    while not found.is_over():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def test_it_is_loaded_once_and_nobody_waits_for_it() -> None:
    calls, go = [], threading.Event()

    def load() -> None:
        calls.append(threading.current_thread().name)
        go.wait(60)

    found = Loading(load)
    for _ in range(3):
        found.begin()
        assert not found.is_over()
    go.set()
    until_over(found)
    found.begin()
    assert calls == ["loading"]


def test_it_begins_a_while_after_the_first_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "AFTER_S", 0.2)
    begun = threading.Event()
    found = Loading(begun.set)
    began_s = time.monotonic()
    found.begin()
    assert begun.wait(60)
    assert time.monotonic() - began_s >= 0.2


def test_that_it_cannot_be_loaded_is_logged_and_ends_the_waiting(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> None:
        raise ImportError("no such library")

    found = Loading(load)
    found.begin()
    until_over(found)
    assert "no such library" in caplog.text

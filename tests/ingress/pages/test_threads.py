"""Pages that take long hold up other pages at most."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from ingress.epochs import Epochs
from ingress.pages import threads
from ingress.receipts import Receipts
from tests.ingress.conftest import HERE, Serve, body_of, post


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, pages of miners are not made."""
    event = threading.Event()

    def waits(*_: object) -> list[object]:
        event.wait(30)
        return []

    monkeypatch.setattr(Epochs, "newest", waits)
    yield event
    event.set()


def test_slow_pages_keep_nothing_but_pages_waiting(serve: Serve, go_on: threading.Event) -> None:
    client = serve(HERE)
    most = threads.AT_ONCE + threads.MAY_WAIT
    with ThreadPoolExecutor(most + 1) as pool:
        pages = [pool.submit(client.get, "/miners") for _ in range(most + 1)]
        (refused,), waiting = wait(pages, 25, FIRST_COMPLETED)
        for path in ("/availability", "/availability/health", "/metrics", "/challenges/stats"):
            assert client.get(path).status_code == 200, path
        assert not any(each.done() for each in waiting)
        go_on.set()
        assert {each.result().status_code for each in waiting} == {200}
    answer = refused.result()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "try again" in answer.json()["detail"]


def test_receipts_that_wait_hold_up_no_look_at_whether_challenges_are_taken(
    serve: Serve, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Receipts, "_meant", lambda *_: go_on.wait(30))
    client = serve(HERE)
    client.post("/set_running", json={"running": False}, headers={"master-hotkey": "5Own"})
    with ThreadPoolExecutor(65) as pool:
        receipts = [pool.submit(client.get, "/miners/1/receipt") for _ in range(64)]
        pushed = pool.submit(post, client, body_of(), {"content-type": "application/json"})
        try:
            assert pushed.result(20).status_code == 503
            assert not any(each.done() for each in receipts)
        finally:
            monkeypatch.undo()
            go_on.set()

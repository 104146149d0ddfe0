"""A launch at once when Dagster is there; whatever goes wrong, the challenge is left to the sensor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingress import launcher as module
from ingress.launcher import Launcher
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import free_ports
from tests.graphql_server import GraphQlServer

C1 = ChallengeId("c-1")
WITHIN_S = 5.0


@pytest.fixture
def server() -> Iterator[GraphQlServer]:
    server = GraphQlServer()
    yield server
    server.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox.open(f"sqlite:///{tmp_path}/validator.db")


@pytest.fixture
def launcher(inbox: Inbox, server: GraphQlServer) -> Iterator[Launcher]:
    launcher = Launcher(inbox, server.url)
    launcher.start()
    yield launcher
    launcher.stop()


def accept(inbox: Inbox, challenge_id: str = C1) -> ChallengeId:
    inbox.accept(ChallengeId(challenge_id), {"id": challenge_id, "prompt": "hi"}, datetime.now(UTC))
    return ChallengeId(challenge_id)


def eventually(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


def due(inbox: Inbox) -> list[ChallengeId]:
    return [row.id for row in inbox.due(datetime.now(UTC), 99)]


def launched(server: GraphQlServer) -> list[str]:
    runs = (variables["params"] for operation, variables in server.asked if operation == "launchRun")
    return [run["executionMetadata"]["tags"][0]["value"] for run in runs]


def test_a_committed_challenge_is_claimed_and_launched(inbox: Inbox, server: GraphQlServer, launcher: Launcher) -> None:
    launcher.launch_soon(accept(inbox))
    eventually(lambda: launched(server) == [C1])
    row = inbox.get(C1)
    assert (row.state, row.attempts, due(inbox)) == (ChallengeState.DISPATCHED, 1, [])


def test_challenges_are_launched_in_order_and_once(inbox: Inbox, server: GraphQlServer, launcher: Launcher) -> None:
    ids = [accept(inbox, f"c-{number}") for number in range(5)]
    for challenge_id in [*ids, *ids]:
        launcher.launch_soon(challenge_id)
    eventually(lambda: server.operations().count("locationStatusesOrError") == 10)
    assert launched(server) == ids


def test_what_the_sensor_took_first_is_not_launched_again(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    inbox.claim(accept(inbox), datetime.now(UTC))
    launcher.launch_soon(C1)
    launcher.launch_soon(accept(inbox, "c-2"))
    eventually(lambda: launched(server) == ["c-2"])


def test_nothing_is_claimed_while_dagster_cannot_launch(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    server.answers["locationStatusesOrError"] = {"__typename": "WorkspaceLocationStatusEntries", "entries": []}
    launcher.launch_soon(accept(inbox))
    eventually(lambda: server.operations() == ["locationStatusesOrError"])
    assert (inbox.get(C1).attempts, due(inbox)) == (0, [C1])


@pytest.mark.parametrize("operation", ["addDynamicPartition", "launchRun"])
def test_a_refused_launch_gives_the_challenge_back(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, operation: str
) -> None:
    server.answers[operation] = {"__typename": "PythonError", "message": "no"}
    launcher.launch_soon(accept(inbox))
    eventually(lambda: operation in server.operations() and due(inbox) == [C1])
    assert inbox.get(C1).attempts == 1, "the attempt is used up: its run may carry the number"


def test_a_launch_without_an_answer_stays_claimed_until_the_sensor_looks_for_its_run(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    server.raw["launchRun"] = (504, b"gateway timeout")
    launcher.launch_soon(accept(inbox))
    server_answers_again = accept(inbox, "c-2")
    eventually(lambda: "launchRun" in server.operations())
    del server.raw["launchRun"]
    launcher.launch_soon(server_answers_again)
    eventually(lambda: "c-2" in launched(server))
    assert due(inbox) == []
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert C1 in [row.id for row in inbox.stalled(later, 9)]


def test_an_unexpected_error_costs_one_launch_not_the_thread(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["launchRun"] = {"__typename": "LaunchRunSuccess"}  # and no run: a shape that Dagster never answers
    launcher.launch_soon(accept(inbox))
    eventually(lambda: "could not launch c-1; the sensor will" in caplog.text)
    server.answers["launchRun"] = {"__typename": "LaunchRunSuccess", "run": {"runId": "run-2"}}
    launcher.launch_soon(accept(inbox, "c-2"))
    eventually(lambda: launched(server) == [C1, "c-2"])


def test_a_full_queue_holds_up_nobody(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "BACKLOG", 2)
    launcher = Launcher(inbox, server.url)  # not started: nobody takes from the queue
    for number in range(4):
        launcher.launch_soon(accept(inbox, f"c-{number}"))
    assert caplog.text.count("launch queue is full") == 2
    launcher.stop()
    assert due(inbox) == ["c-0", "c-1", "c-2", "c-3"]


def test_stop_finishes_the_launch_under_way_and_leaves_the_rest(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKLOG", 2)
    under_way, go_on = threading.Event(), threading.Event()

    def slowly() -> dict[str, object]:
        under_way.set()
        go_on.wait(WITHIN_S)
        return {"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}}

    server.answers["launchRun"] = slowly
    launcher = Launcher(inbox, server.url)
    launcher.start()
    launcher.launch_soon(accept(inbox))
    assert under_way.wait(WITHIN_S)
    for number in (2, 3):
        launcher.launch_soon(accept(inbox, f"c-{number}"))
    stopping = threading.Thread(target=launcher.stop)
    stopping.start()
    go_on.set()
    stopping.join(WITHIN_S)
    assert not stopping.is_alive()
    assert not launcher._thread.is_alive()
    assert (launched(server), due(inbox)) == ([C1], ["c-2", "c-3"])


def test_a_launch_that_hangs_does_not_hold_up_the_end(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_WITHIN_S", 0.1)
    under_way, go_on = threading.Event(), threading.Event()
    server.answers["locationStatusesOrError"] = lambda: (under_way.set(), go_on.wait(WITHIN_S))[1]
    launcher = Launcher(inbox, server.url)
    launcher.start()
    launcher.launch_soon(accept(inbox))
    assert under_way.wait(WITHIN_S)
    begun_s = time.monotonic()
    launcher.stop()
    assert time.monotonic() - begun_s < WITHIN_S / 2
    go_on.set()
    launcher._thread.join(WITHIN_S)
    assert due(inbox) == [C1]


def test_without_dagster_nothing_is_launched(inbox: Inbox) -> None:
    launcher = Launcher(inbox, None)
    launcher.start()
    launcher.launch_soon(accept(inbox))
    launcher.stop()
    assert due(inbox) == [C1]


def test_with_nobody_at_the_address_the_sensor_takes_over(inbox: Inbox) -> None:
    launcher = Launcher(inbox, f"http://127.0.0.1:{free_ports(1)[0]}")
    launcher.start()
    launcher.launch_soon(accept(inbox))
    launcher.stop()
    assert (inbox.get(C1).attempts, due(inbox)) == (0, [C1])

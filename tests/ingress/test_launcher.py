"""A launch at once when Dagster is there; whatever goes wrong, the challenge is left to the sensor."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from ingress import launcher as module
from ingress.launcher import POLL_S, Launcher
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.inbox import FIRST_RETRY_S, Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.runs import Claim, Runs
from loosh_pipeline.supervisor import free_ports
from tests import claims
from tests.graphql_server import LAUNCHED, GraphQlServer
from tests.graphql_server import launched as answer_for

C1 = ChallengeId("c-1")
WITHIN_S = 5.0
ROOM = 99


@pytest.fixture
def server() -> Iterator[GraphQlServer]:
    server = GraphQlServer()
    yield server
    server.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox.open(f"sqlite:///{tmp_path}/validator.db")


def started(inbox: Inbox, server: GraphQlServer, room: int = ROOM, free: Callable[[], int] = lambda: ROOM) -> Launcher:
    launcher = Launcher(inbox, server.url, room, free)
    launcher.start()
    return launcher


@pytest.fixture
def launcher(inbox: Inbox, server: GraphQlServer) -> Iterator[Launcher]:
    launcher = started(inbox, server)
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
    return claims.due(inbox, datetime.now(UTC))


def launched(server: GraphQlServer) -> list[list[str]]:
    """The challenges of each call that asked for runs."""
    calls = []
    for operation, variables in server.asked:
        if operation in ("launchRun", "launchMultipleRuns"):
            runs = variables["params"] if operation == "launchMultipleRuns" else [variables["params"]]
            calls.append([run["executionMetadata"]["tags"][0]["value"] for run in runs])
    return calls


class Slowly:
    """An answer that waits to be let go, so that challenges collect meanwhile."""

    def __init__(self, answer: Any = LAUNCHED) -> None:
        self.under_way, self.go_on = threading.Event(), threading.Event()
        self._answer = answer

    def __call__(self) -> Any:
        self.under_way.set()
        self.go_on.wait(WITHIN_S)
        return self._answer


def test_a_committed_challenge_is_claimed_and_launched(inbox: Inbox, server: GraphQlServer, launcher: Launcher) -> None:
    accept(inbox)
    launcher.wake()
    eventually(lambda: launched(server) == [[C1]])
    row = inbox.get(C1)
    assert (row.state, row.attempts, due(inbox)) == (ChallengeState.DISPATCHED, 1, [])


def test_whether_dagster_is_ready_is_asked_once(inbox: Inbox, server: GraphQlServer, launcher: Launcher) -> None:
    for number in range(3):
        accept(inbox, f"c-{number}")
        launcher.wake()
        eventually(lambda: len(launched(server)) == number + 1)  # noqa: B023
    assert server.operations() == ["locationStatusesOrError", *["launchRun"] * 3]


def test_what_collects_while_a_call_is_under_way_goes_into_the_next_oldest_first(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 3)
    server.answers["launchRun"] = slowly = Slowly()
    accept(inbox)
    launcher.wake()
    assert slowly.under_way.wait(WITHIN_S)
    ids = [accept(inbox, f"d-{number}") for number in range(5)]
    launcher.wake()
    slowly.go_on.set()
    eventually(lambda: launched(server) == [[C1], ids[:3], ids[3:]])
    assert due(inbox) == []


def test_no_more_are_launched_than_there_is_room_for(inbox: Inbox, server: GraphQlServer) -> None:
    ids = [accept(inbox, f"c-{number}") for number in range(4)]
    launcher = started(inbox, server, room=2)
    eventually(lambda: launched(server) == [ids[:2]])
    assert due(inbox) == ids[2:]
    Outbox(inbox.engine).keep_result(ids[0], b"{}", datetime.now(UTC))
    eventually(lambda: launched(server) == [ids[:2], [ids[2]]])
    launcher.stop()


def test_no_more_are_launched_than_processes_are_free(inbox: Inbox, server: GraphQlServer) -> None:
    """Of challenges that have scores, and are in flight no longer, the runs go on."""
    ids, free = [accept(inbox, f"c-{number}") for number in range(4)], [0]
    launcher = Launcher(inbox, server.url, ROOM, lambda: free[0])
    assert launcher._look() == (POLL_S, False)
    assert launched(server) == []
    free[0] = 3
    assert launcher._look() == (0.0, True)
    assert launched(server) == [ids[:3]]


def test_what_the_sensor_took_first_is_not_launched_again(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    claims.claim(inbox, accept(inbox), datetime.now(UTC))
    accept(inbox, "c-2")
    launcher.wake()
    eventually(lambda: launched(server) == [["c-2"]])


def test_what_another_process_put_back_is_launched_without_news(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_POLL_S", 0.01)
    launcher = started(inbox, server)
    accept(inbox)
    eventually(lambda: launched(server) == [[C1]])
    launcher.stop()


def test_an_idle_validator_is_hardly_looked_at(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    queue = Runs.queue
    monkeypatch.setattr(Runs, "queue", lambda self, now: (looks.append(time.monotonic()), queue(self, now))[1])
    launcher = started(inbox, server)
    eventually(lambda: looks)
    time.sleep(3 * module.POLL_S)
    launcher.stop()
    assert len(looks) == 1


def test_nothing_is_claimed_while_dagster_cannot_launch(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    ready = server.answers["locationStatusesOrError"]
    server.answers["locationStatusesOrError"] = {"__typename": "WorkspaceLocationStatusEntries", "entries": []}
    accept(inbox)
    launcher.wake()
    eventually(lambda: "Dagster is not ready to launch runs" in caplog.text)
    assert (inbox.get(C1).attempts, due(inbox)) == (0, [C1])
    server.answers["locationStatusesOrError"] = ready
    eventually(lambda: launched(server) == [[C1]])


def test_a_code_location_that_is_gone_gives_the_challenges_back_as_they_were(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    server.answers["launchRun"] = {"__typename": "PipelineNotFoundError", "message": "no such job"}
    accept(inbox)
    launcher.wake()
    eventually(lambda: launched(server) and inbox.get(C1).attempts == 0 and due(inbox) == [C1])
    assert inbox.get(C1).state is ChallengeState.RECEIVED
    server.answers["launchRun"] = LAUNCHED
    eventually(lambda: inbox.get(C1).attempts == 1 and due(inbox) == [])


def test_a_refused_launch_is_tried_later_and_the_attempt_is_used_up(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    server.answers["launchRun"] = {"__typename": "PythonError", "message": "no"}
    accept(inbox)
    launcher.wake()
    eventually(lambda: Runs(inbox.engine).queue(datetime.now(UTC)).waits and launched(server))
    assert inbox.get(C1).attempts == 1, "its run may carry the number"
    assert due(inbox) == []
    later = datetime.now(UTC) + timedelta(seconds=FIRST_RETRY_S)
    assert claims.due(inbox, later) == [C1]


def test_of_many_only_those_that_were_refused_are_given_back(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = answer_for(3)
    mixed["launchMultipleRunsResult"][1] = {"__typename": "PythonError", "message": "no"}
    server.answers["launchMultipleRuns"] = mixed
    ids = [accept(inbox, f"c-{number}") for number in range(3)]
    launcher = started(inbox, server)
    runs = Runs(inbox.engine)
    eventually(lambda: runs.queue(datetime.now(UTC)).in_flight == 2)
    launcher.stop()
    later = datetime.now(UTC) + timedelta(seconds=FIRST_RETRY_S)
    assert claims.due(inbox, later) == [ids[1]]


NO_RUN = {"__typename": "Runs", "results": []}


def test_a_launch_without_an_answer_stays_claimed_where_dagster_knows_its_run(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    server.raw["launchRun"] = (504, b"gateway timeout")
    accept(inbox)
    launcher.wake()
    eventually(lambda: "launchRun" in server.operations())
    del server.raw["launchRun"]
    accept(inbox, "c-2")
    launcher.wake()
    eventually(lambda: ["c-2"] in launched(server))
    assert server.operations().index("runsOrError") < len(server.operations()) - 1, "asked before more is launched"
    (asked,) = [variables for operation, variables in server.asked if operation == "runsOrError"]
    assert {tag["value"] for tag in asked["run0"]} == {C1, "1"}
    assert (inbox.get(C1).attempts, due(inbox)) == (1, [])
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert C1 in [row.id for row in inbox.stalled(later, 9)], "should its run be dead, the sensor finds it"


def test_a_launch_without_an_answer_gets_another_attempt_when_dagster_knows_no_run(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher
) -> None:
    server.answers["runsOrError"] = NO_RUN
    server.raw["launchRun"] = (500, b"the code server is away")
    accept(inbox)
    launcher.wake()
    eventually(lambda: "launchRun" in server.operations())
    del server.raw["launchRun"]
    eventually(lambda: len(launched(server)) == 2)
    assert launched(server) == [[C1], [C1]]
    assert (inbox.get(C1).attempts, due(inbox)) == (2, [])


def test_nothing_is_launched_before_dagster_says_what_it_did(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    server.raw |= {"launchRun": (504, b"gateway timeout"), "runsOrError": (504, b"gateway timeout")}
    accept(inbox)
    launcher.wake()
    eventually(lambda: "is not known yet" in caplog.text)
    server.raw.clear()
    eventually(lambda: server.operations().count("runsOrError") == 2)
    assert (launched(server), inbox.get(C1).attempts) == ([[C1]], 1)


def test_an_unexpected_error_costs_one_launch_not_the_thread(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["launchRun"] = {"__typename": "LaunchRunSuccess"}  # and no run: a shape that Dagster never answers
    accept(inbox)
    launcher.wake()
    eventually(lambda: "could not launch runs; the sensor will" in caplog.text)
    server.answers["launchRun"] = LAUNCHED
    accept(inbox, "c-2")
    launcher.wake()
    eventually(lambda: launched(server) == [[C1], ["c-2"]])


def test_an_inbox_that_cannot_be_written_is_tried_again(
    inbox: Inbox, server: GraphQlServer, launcher: Launcher, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def full(*_: object) -> list[Claim]:
        raise OperationalError("UPDATE", {}, Exception("disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(Runs, "claim", full)
        accept(inbox)
        launcher.wake()
        eventually(lambda: "cannot be used to launch runs" in caplog.text)
    eventually(lambda: launched(server) == [[C1]])


def test_a_dead_webserver_is_asked_more_and_more_rarely(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher(inbox, f"http://127.0.0.1:{free_ports(1)[0]}", ROOM, lambda: ROOM)
    accept(inbox)
    waits = [launcher._look() for _ in range(6)]
    assert waits == [(pause_s, False) for pause_s in (0.5, 1.0, 2.0, 4.0, 5.0, 5.0)]
    assert (inbox.get(C1).attempts, due(inbox)) == (0, [C1])
    launcher.stop()


def test_stop_finishes_the_launch_under_way_and_leaves_the_rest(inbox: Inbox, server: GraphQlServer) -> None:
    server.answers["launchRun"] = slowly = Slowly()
    launcher = started(inbox, server)
    accept(inbox)
    launcher.wake()
    assert slowly.under_way.wait(WITHIN_S)
    for number in (2, 3):
        accept(inbox, f"c-{number}")
    launcher.wake()
    stopping = threading.Thread(target=launcher.stop)
    stopping.start()
    assert launcher._stopping.wait(WITHIN_S)
    slowly.go_on.set()
    stopping.join(WITHIN_S)
    assert not stopping.is_alive()
    assert not launcher._thread.is_alive()
    assert (launched(server), due(inbox)) == ([[C1]], ["c-2", "c-3"])


def test_a_launch_that_hangs_does_not_hold_up_the_end(
    inbox: Inbox, server: GraphQlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_WITHIN_S", 0.1)
    server.answers["locationStatusesOrError"] = slowly = Slowly(None)
    launcher = started(inbox, server)
    accept(inbox)
    launcher.wake()
    assert slowly.under_way.wait(WITHIN_S)
    begun_s = time.monotonic()
    launcher.stop()
    assert time.monotonic() - begun_s < WITHIN_S / 2
    slowly.go_on.set()
    launcher._thread.join(WITHIN_S)
    assert due(inbox) == [C1]


def test_without_dagster_nothing_is_launched(inbox: Inbox) -> None:
    launcher = Launcher(inbox, None, ROOM, lambda: ROOM)
    launcher.start()
    accept(inbox)
    launcher.wake()
    launcher.stop()
    assert due(inbox) == [C1]


CLAIM_AND_DIE = """
import os, signal, sys
from loosh_pipeline.orchestrator import DagsterApi
from loosh_pipeline.store.inbox import Inbox
from ingress.launcher import Launcher

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

DagsterApi.ready = lambda self: True
DagsterApi.launch_challenges = die
Launcher(Inbox.open(sys.argv[1]), "http://127.0.0.1:1", 9, lambda: 9)._look()
"""


def test_a_kill_between_claim_and_launch_leaves_it_to_the_sensor(inbox: Inbox) -> None:
    accept(inbox)
    command = [sys.executable, "-c", CLAIM_AND_DIE, str(inbox.engine.url)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert (inbox.get(C1).attempts, due(inbox)) == (1, [])
    later = datetime.now(UTC) + timedelta(minutes=1)
    (row,) = inbox.stalled(later, 9)
    inbox.retry(row, "its run was never created", later, 9)
    assert Runs(inbox.engine).claim(later + timedelta(minutes=1), 9, 9) == [Claim(C1, 2)]

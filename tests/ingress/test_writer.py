"""Group commit: what is answered is on disk, and nobody pays for another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from ingress import writer as module
from ingress.writer import StoreUnavailable, Writer
from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import DuplicateChallenge
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.arrivals import Arrival, Verdict, commit_arrivals
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.supervisor import Service, free_ports, supervised

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def arrival(challenge_id: str) -> Arrival:
    return Arrival(ChallengeId(challenge_id), {"id": challenge_id, "prompt": "hi"}, NOW)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox.open(f"sqlite:///{tmp_path}/v.db")


def ids(inbox: Inbox) -> list[str]:
    with inbox.engine.connect() as connection:
        return sorted(connection.execute(select(challenges.c.id)).scalars())


def kept(writer: Writer, arrivals: Sequence[Arrival]) -> list[Any]:
    """Keep all at once; the link or the error for each."""

    async def scenario() -> list[Any]:
        writer.start()
        answers = await asyncio.gather(*(writer.keep(each) for each in arrivals), return_exceptions=True)
        await writer.stop()
        return list(answers)

    return asyncio.run(scenario())


class Commits:
    """Commits for real, after the first has been held until others wait."""

    def __init__(self, hold_first: bool = True) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self._hold_first = hold_first

    def __call__(self, engine: Engine, arrivals: Sequence[Arrival]) -> list[Verdict]:
        self.sizes.append(len(arrivals))
        if self._hold_first and len(self.sizes) == 1:
            assert self.go.wait(5.0)
        return commit_arrivals(engine, arrivals)


def test_who_arrives_during_a_commit_goes_into_the_next(inbox: Inbox) -> None:
    commits = Commits()
    writer = Writer(inbox.engine, commit=commits)

    async def scenario() -> None:
        writer.start()
        first = asyncio.create_task(writer.keep(arrival("c-0")))
        while not commits.sizes:
            await asyncio.sleep(0)
        others = [asyncio.create_task(writer.keep(arrival(f"c-{number}"))) for number in range(1, 40)]
        await asyncio.sleep(0)
        commits.go.set()
        await asyncio.gather(first, *others)
        assert len(ids(inbox)) == 40, "all were there before they were answered"
        await writer.stop()

    asyncio.run(scenario())
    assert commits.sizes == [1, 39]


def test_w_36_of_the_same_ids_in_one_group_one_is_kept(inbox: Inbox) -> None:
    inbox.accept(ChallengeId("known"), {"id": "known", "prompt": "hi"}, NOW)
    answers = kept(Writer(inbox.engine), [arrival(name) for name in ("a", "a", "known", "b", "a")])
    assert [type(answer) for answer in answers] == [
        Link,
        DuplicateChallenge,
        DuplicateChallenge,
        Link,
        DuplicateChallenge,
    ]
    assert ids(inbox) == ["a", "b", "known"]


def test_one_that_cannot_be_written_costs_only_itself(inbox: Inbox) -> None:
    broken = Arrival(ChallengeId("x"), {"id": {1, 2}}, NOW)
    answers = kept(Writer(inbox.engine), [arrival("a"), broken, arrival("b")])
    assert [type(answer) for answer in answers] == [Link, StoreUnavailable, Link]
    assert ids(inbox) == ["a", "b"]


def test_a_store_that_refuses_is_told_to_all_who_wait(inbox: Inbox) -> None:
    def refuse(_engine: Engine, _arrivals: Sequence[Arrival]) -> list[Verdict]:
        raise OperationalError("INSERT", {}, Exception("disk I/O error"))

    answers = kept(Writer(inbox.engine, commit=refuse), [arrival("a"), arrival("b")])
    assert {str(answer) for answer in answers} == {"the store cannot be written; try again"}


def test_nobody_waits_for_ever(inbox: Inbox) -> None:
    commits = Commits()
    writer = Writer(inbox.engine, commit=commits, within_s=0.05)

    async def scenario() -> None:
        writer.start()
        with pytest.raises(StoreUnavailable, match=r"within 0\.05 s"):
            await writer.keep(arrival("late"))
        gone = asyncio.create_task(writer.keep(arrival("gone")))
        with pytest.raises(StoreUnavailable):
            await gone
        commits.go.set()
        await writer.keep(arrival("after"))
        await writer.stop()

    asyncio.run(scenario())
    assert ids(inbox) == ["after", "late"], "who was told that it was not kept before its turn came is not written"


def test_w_18_what_waits_is_bounded(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    answers = kept(Writer(inbox.engine), [arrival(f"c-{number}") for number in range(4)])
    assert [type(answer) for answer in answers] == [Link, Link, StoreUnavailable, StoreUnavailable]


def test_groups_are_bounded(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUP", 3)
    commits = Commits(hold_first=False)
    links = kept(Writer(inbox.engine, commit=commits), [arrival(f"c-{n}") for n in range(10)])
    assert [link.seq for link in links] == list(range(1, 11))
    assert max(commits.sizes) <= 3


def test_stopping_commits_what_waits(inbox: Inbox) -> None:
    commits = Commits()
    writer = Writer(inbox.engine, commit=commits)

    async def scenario() -> None:
        writer.start()
        tasks = [asyncio.create_task(writer.keep(arrival(f"c-{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.02, commits.go.set)
        await writer.stop()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert len(ids(inbox)) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="the supervisor's guarantees are Linux's")
def test_w_1_a_kill_loses_nothing_that_was_answered_with_201(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = Settings(loosh_home=tmp_path, api_host="127.0.0.1", api_port=port, unconsumed_after_s=1e6)
    service = Service("ingress", [sys.executable, "-m", "ingress"], settings.environment(), port)
    accepted: set[str] = set()

    async def post_until_killed(process: subprocess.Popen[bytes]) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

            async def sender(name: int) -> None:
                for number in range(10_000):
                    challenge_id = f"{name}-{number}"
                    try:
                        answer = await http.post("/challenges", json={"id": challenge_id, "prompt": "hi"})
                    except httpx.TransportError:
                        return
                    assert answer.status_code == 201, answer.text
                    accepted.add(challenge_id)
                    if len(accepted) == 150:
                        os.kill(process.pid, signal.SIGKILL)

            await asyncio.gather(*(sender(name) for name in range(8)))

    with supervised([service], tmp_path / "logs", lambda _: None) as supervisor:
        asyncio.run(post_until_killed(supervisor._children["ingress"].process))
    assert len(accepted) >= 150
    stored = set(ids(Inbox.open(settings.inbox_url)))
    assert accepted <= stored
    assert len(stored - accepted) <= 8, "at most what was under way when it was killed"

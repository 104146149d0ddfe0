"""Canaries through the ingress: put in after pushed challenges, accepted as they are, told apart by the mark alone."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from ingress.canaries import CanarySource, LeftOut
from ingress.counting import CanaryCounts
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.acceptances import first_broken_of
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import Canaries, CanaryMark
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import canaries, challenges
from tests.ingress.conftest import HERE, Serve

WITHIN_S = 30.0
QUESTIONS = [{"prompt": f"What is {n} + {n}?", "accepted": [2 * n]} for n in range(3)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "canaries.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


def wait_for(look: Callable[[], Any]) -> Any:
    until_s = time.monotonic() + WITHIN_S
    while not (found := look()):
        assert time.monotonic() < until_s, "nothing came"
        time.sleep(0.02)
    return found


class Clock:
    """Real time, and between pushes some more: as if they came at random, a second after one another in the mean."""

    def __init__(self) -> None:
        self._draw, self._passed_s = Random(5), 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._passed_s

    def wait(self) -> None:
        self._passed_s += self._draw.expovariate(1.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ingress.canaries.clock", clock)
    return clock


def push(client: Any, clock: Clock, count: int, **fields: Any) -> None:
    for _ in range(count):
        clock.wait()
        body = {"id": str(uuid.uuid4()), "prompt": "hi"} | fields
        assert client.post("/challenges", json=body).status_code == 201


def sample(client: Any, name: str) -> float:
    """A figure of /metrics."""
    line = next(each for each in client.get("/metrics").text.splitlines() if each.startswith(name))
    return float(line.rsplit(" ", 1)[1])


def test_they_come_among_those_that_are_pushed_each_question_once(
    serve: Serve, settings: Settings, file: Path, clock: Clock
) -> None:
    client = serve(HERE, canaries_file=file, canary_rate=0.5)
    push(client, clock, 60, max_tokens=777)
    inbox = Inbox.open(settings.inbox_url)
    kept = Canaries(inbox.engine)

    def came() -> list[Any]:
        rows = inbox.recent(100)
        ours = kept.among(row.id for row in rows)
        return [row for row in rows if row.id in ours]

    found = wait_for(lambda: rows if len(rows := came()) == len(QUESTIONS) else None)
    wait_for(lambda: sample(client, 'loosh_canaries_left_out_total{reason="used_up"}'))
    assert len(came()) == len(QUESTIONS)
    assert sample(client, "loosh_canaries_put_in_total") == len(QUESTIONS)
    assert sample(client, "loosh_canary_questions_left") == 0
    assert {each.challenge().prompt for each in found} == {each["prompt"] for each in QUESTIONS}
    assert {each.challenge().max_tokens for each in found} == {777}
    assert first_broken_of(inbox.engine, requests=True).links == 60 + len(QUESTIONS)
    with reading(inbox.engine) as connection:
        rows = [dict(row) for row in connection.execute(select(challenges)).mappings()]
        accepted = connection.execute(select(canaries.c.accepted).order_by(canaries.c.question)).scalars().all()
    assert len({frozenset(name for name in row if row[name] is None) for row in rows}) == 1
    assert sorted(accepted) == [[0], [2], [4]]


def source(settings: Settings, **changes: Any) -> tuple[CanarySource, CanaryCounts]:
    inbox, counts = Inbox.open(settings.inbox_url), CanaryCounts(CollectorRegistry())
    found = CanarySource.of(Settings(**changes), Canaries(inbox.engine), counts)
    assert found is not None
    return found, counts


def accept(settings: Settings, count: int, **fields: Any) -> None:
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    for _ in range(count):
        request = ChallengeRequest.model_validate({"id": str(uuid.uuid4()), "prompt": "hi"} | fields)
        inbox.accept(ChallengeId(request.id), request.stored(now), now)


def test_where_nothing_can_be_copied_none_is_made_and_it_is_said_why(settings: Settings, file: Path) -> None:
    found, _ = source(settings, canaries_file=file, canary_rate=0.5)
    accept(settings, 3, correlation_id="job-1", metadata={"timing_data": {"n": 10**400}})
    with pytest.raises(LeftOut, match="3 × correlation_id") as none:
        found.make(datetime.now(UTC))
    assert none.value.kind == "no_template"


def test_a_question_in_turns_is_left_where_others_come_in_one(settings: Settings, file: Path) -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    file.write_text(json.dumps({"messages": turns, "accepted": [1]}))
    found, _ = source(settings, canaries_file=file, canary_rate=0.5)
    accept(settings, 3)
    with pytest.raises(LeftOut) as none:
        found.make(datetime.now(UTC))
    assert none.value.kind == "no_question"


def test_a_file_that_changes_is_read_again(settings: Settings, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    found, _ = source(settings, canaries_file=file, canary_rate=0.5)
    accept(settings, 3)
    file.write_text("{")
    request, _ = found.make(datetime.now(UTC))
    assert "stay as they were" in caplog.text
    assert request.prompt in {each["prompt"] for each in QUESTIONS}
    file.write_text(json.dumps({"prompt": "Another?", "accepted": [1]}))
    request, _ = found.make(datetime.now(UTC))
    assert request.prompt == "Another?"


@pytest.mark.parametrize(("waiting", "is_open", "taken"), [(4, True, True), (5, True, False), (0, False, False)])
def test_none_takes_the_place_of_another(
    serve: Serve, file: Path, monkeypatch: pytest.MonkeyPatch, waiting: int, is_open: bool, taken: bool
) -> None:
    client = serve(HERE, canaries_file=file, canary_rate=0.5, intake_max_backlog=10)
    intake = client.app.state.parts.intake  # type: ignore[attr-defined]
    monkeypatch.setattr(intake._health, "waiting", lambda: waiting)
    monkeypatch.setattr(intake, "open", lambda: is_open)
    kept: list[str] = []

    async def keep(request: ChallengeRequest, **_: Any) -> None:
        kept.append(request.id)

    monkeypatch.setattr(intake, "_keep", keep)
    taking = intake._take_canary(ChallengeRequest(id="c-1", prompt="hi"), CanaryMark([1], "a" * 64))
    if taken:
        asyncio.run(taking)
    else:
        with pytest.raises(LeftOut) as none:
            asyncio.run(taking)
        assert none.value.kind == "closed"
    assert kept == ["c-1"] * taken


def test_what_fails_is_counted_and_logged(
    settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found, counts = source(settings, canaries_file=file, canary_rate=0.5)

    def fail(_: datetime) -> None:
        raise OverflowError("too large")

    monkeypatch.setattr(found, "make", fail)
    asyncio.run(found._put_in(0.0, lambda *_: asyncio.sleep(0)))
    assert "too large" in caplog.text
    assert counts._left_out["failed"]._value.get() == 1


def test_none_come_by_default(serve: Serve, settings: Settings, file: Path, clock: Clock) -> None:
    """What would come at the highest rate is a task from the moment of the push on: there is none to wait for."""
    counts = CanaryCounts(CollectorRegistry())
    assert CanarySource.of(settings, Canaries(Inbox.open(settings.inbox_url).engine), counts) is None
    client = serve(HERE, canaries_file=file)
    push(client, clock, 40)
    assert client.app.state.parts.canaries is None  # type: ignore[attr-defined]
    assert "loosh_canaries_put_in_total" not in client.get("/metrics").text
    assert len(Inbox.open(settings.inbox_url).recent(100)) == 40


def test_a_page_that_is_public_does_not_name_them(serve: Serve, settings: Settings) -> None:
    now, ours = datetime.now(UTC), "the-validators-own"
    request = ChallengeRequest(id=ours, prompt="hi").stored(now)
    mark = CanaryMark([1], "a" * 64)
    commit_arrivals(Inbox.open(settings.inbox_url).engine, [Arrival(ChallengeId(ours), request, now, canary=mark)])
    accept(settings, 1, id="of-another")
    for public in (True, False):
        page = serve(HERE, pages_public=public).get("/").text
        assert "of-another" in page
        assert (ours in page) is not public


def test_a_bad_file_is_told_at_start(serve: Serve, file: Path) -> None:
    file.write_text("{")
    with pytest.raises(ConfigError, match="line 1"):
        serve(HERE, canaries_file=file, canary_rate=0.1)

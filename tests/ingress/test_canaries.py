"""Canaries through the ingress: put in after pushed challenges, accepted as they are, told apart by the mark alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ingress.canaries import CanarySource
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.acceptances import first_broken_of
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import canaries, challenges
from tests.ingress.conftest import HERE, Serve

WITHIN_S = 30.0
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
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


def test_they_come_among_those_that_are_pushed(
    serve: Serve, settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loosh_pipeline.canaries.timing.Timing.pushed", lambda *_: 0.0)
    client = serve(HERE, canaries_file=file, canary_rate=0.5)
    assert client.post("/challenges", json={"id": "c-1", "prompt": "hi", "max_tokens": 77}).status_code == 201
    inbox = Inbox.open(settings.inbox_url)
    (canary,) = wait_for(lambda: inbox.recent(10)[:-1])
    assert canary.challenge().max_tokens == 77
    assert canary.challenge().prompt in {each["prompt"] for each in QUESTIONS}
    assert canary.id in Canaries(inbox.engine)
    assert first_broken_of(inbox.engine, requests=True).links == 2
    assert client.get("/challenges/stats").json()["total_received"] == 2
    with reading(inbox.engine) as connection:
        rows = [dict(row) for row in connection.execute(select(challenges)).mappings()]
        accepted = connection.execute(select(canaries.c.accepted)).scalar_one()
    assert {name for name in rows[0] if rows[0][name] is None} == {name for name in rows[1] if rows[1][name] is None}
    assert [int(canary.challenge().prompt.split()[2]) * 2] == accepted


def test_each_question_is_asked_as_often_as_others(
    serve: Serve, settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loosh_pipeline.canaries.timing.Timing.pushed", lambda *_: 0.0)
    client = serve(HERE, canaries_file=file, canary_rate=0.5)
    kept = Canaries(Inbox.open(settings.inbox_url).engine)
    for number in range(6):
        client.post("/challenges", json={"id": f"c-{number}", "prompt": "hi"})
        wait_for(lambda wanted=number + 1: len(kept.since(BEFORE)) == wanted)
    with reading(kept._engine) as connection:
        asked = list(connection.execute(select(canaries.c.question)).scalars())
    assert sorted(map(asked.count, set(asked))) == [2, 2, 2]


def test_none_come_by_default(serve: Serve, settings: Settings, file: Path) -> None:
    assert CanarySource.of(settings, Canaries(Inbox.open(settings.inbox_url).engine)) is None
    client = serve(HERE, canaries_file=file)
    for number in range(5):
        client.post("/challenges", json={"id": f"c-{number}", "prompt": "hi"})
    assert len(Inbox.open(settings.inbox_url).recent(10)) == 5


def test_a_bad_file_is_told_at_start(serve: Serve, file: Path) -> None:
    file.write_text("{")
    with pytest.raises(ConfigError, match="line 1"):
        serve(HERE, canaries_file=file, canary_rate=0.1)

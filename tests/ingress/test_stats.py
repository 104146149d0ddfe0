"""Figures are true, or they are not said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from ingress.figures import Figures
from ingress.main import create_app
from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.figures import InboxStats
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from tests.builders import response
from tests.claims import claim


@pytest.fixture
def inbox(settings: Settings) -> Inbox:
    return Inbox.open(settings.inbox_url)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), client=("127.0.0.1", 5000)) as client:
        yield client


def evaluate(inbox: Inbox, challenge_id: str, at: datetime, **answered_in_ms: float | None) -> None:
    """A challenge that these miners were asked; None is a timeout."""
    accepted = ChallengeId(challenge_id)
    inbox.accept(accepted, {"id": challenge_id, "prompt": "hi"}, at)
    claim(inbox, accepted, at)
    responses = [
        response(hotkey, elapsed_ms=ms, outcome=Outcome.TIMEOUT if ms is None else Outcome.ANSWERED)
        for hotkey, ms in answered_in_ms.items()
    ]
    inbox.collected(accepted, responses, at)


def test_a_new_validator_has_done_nothing(client: TestClient) -> None:
    stats = client.get("/stats").json()
    assert stats.pop("uptime_seconds") in range(0, 60)
    assert stats == {
        "total_challenges": 0,
        "successful_responses": 0,
        "failed_responses": 0,
        "average_response_time_ms": 0.0,
        "active_miners": 0,
    }


def test_responses_are_counted_and_averaged_over_the_answered(client: TestClient, inbox: Inbox) -> None:
    now = datetime.now(UTC)
    evaluate(inbox, "c-1", now, a=100.0, b=200.0, c=None)
    evaluate(inbox, "c-2", now, a=600.0, c=None)
    stats = client.get("/stats").json()
    assert (stats["total_challenges"], stats["successful_responses"], stats["failed_responses"]) == (2, 3, 2)
    assert stats["average_response_time_ms"] == 300.0
    assert stats["active_miners"] == 2, "one never answered"


def test_active_miners_answered_within_the_hour(client: TestClient, inbox: Inbox) -> None:
    now = datetime.now(UTC)
    evaluate(inbox, "c-1", now - timedelta(minutes=61), a=1.0)
    evaluate(inbox, "c-2", now - timedelta(minutes=59), b=1.0)
    assert client.get("/stats").json()["active_miners"] == 1


def test_the_older_name_demands_its_header_and_says_the_same(client: TestClient, inbox: Inbox) -> None:
    evaluate(inbox, "c-1", datetime.now(UTC), a=1.0)
    assert client.get("/get_stats").status_code == 422
    older = client.get("/get_stats", headers={"master-hotkey": "5Abc"}).json()
    newer = client.get("/stats").json()
    assert older | {"uptime_seconds": 0} == newer | {"uptime_seconds": 0}


def test_the_queue_is_what_has_no_scores_yet(client: TestClient, inbox: Inbox, settings: Settings) -> None:
    now = datetime.now(UTC)
    for number in range(3):
        client.post("/challenges", json={"id": f"w-{number}", "prompt": "hi"})
    evaluate(inbox, "c-1", now, a=1.0)
    Outbox(inbox.engine).keep_result(ChallengeId("c-1"), b"{}", now)
    claim(inbox, ChallengeId("w-0"), datetime.now(UTC))
    assert client.get("/challenges/stats").json() == {"queue_size": 3, "total_received": 4}
    processing = client.get("/availability/health").json()["processing_stats"]
    assert processing["queue_size"] == 3
    assert processing["active_challenges"] == 1
    assert processing["available_capacity"] == settings.max_concurrent_runs - 1


def test_strangers_share_one_count_a_second(inbox: Inbox) -> None:
    now_s = 1000.0
    counted = 0
    count = inbox.stats

    def counting() -> InboxStats:
        nonlocal counted
        counted += 1
        return count()

    inbox.stats = counting  # type: ignore[method-assign]
    figures = Figures(inbox, clock=lambda: now_s)
    for _ in range(5):
        figures(fresh=False)
    assert counted == 1
    now_s += 1.0
    figures(fresh=False)
    figures(fresh=True)
    assert counted == 3


@pytest.mark.parametrize("path", ["/stats", "/challenges/stats"])
def test_figures_for_strangers_cost_one_count(settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    counts: list[Inbox] = []
    monkeypatch.setattr(Inbox, "stats", lambda self: counts.append(self) or InboxStats(0, 0, {}, 0, 0, 0.0))
    with TestClient(create_app(settings), client=("203.0.113.9", 1)) as stranger:
        for _ in range(5):
            stranger.get(path)
    assert len(counts) == 1


def test_capacity_is_never_below_zero(inbox: Inbox) -> None:
    for number in range(3):
        evaluate(inbox, f"c-{number}", datetime.now(UTC), a=1.0)
    with TestClient(create_app(Settings(max_concurrent_runs=2))) as client:
        processing = client.get("/availability/health").json()["processing_stats"]
    assert (processing["active_challenges"], processing["available_capacity"]) == (3, 0)


def test_figures_survive_a_restart(client: TestClient, inbox: Inbox, settings: Settings) -> None:
    evaluate(inbox, "c-1", datetime.now(UTC), a=50.0)
    before = client.get("/stats").json()
    with TestClient(create_app(settings)) as restarted:
        after = restarted.get("/stats").json()
    assert after | {"uptime_seconds": 0} == before | {"uptime_seconds": 0}


def test_health_says_when_nobody_consumes(client: TestClient, inbox: Inbox) -> None:
    now = datetime.now(UTC)
    inbox.accept(ChallengeId("c-1"), {"id": "c-1", "prompt": "hi"}, now - timedelta(seconds=30))
    assert client.get("/availability/health").json()["status"] == "healthy"
    inbox.accept(ChallengeId("c-2"), {"id": "c-2", "prompt": "hi"}, now - timedelta(minutes=5))
    health = client.get("/availability/health").json()
    assert health["status"] == "unhealthy"
    assert "has waited 30" in health["reasons"][0]

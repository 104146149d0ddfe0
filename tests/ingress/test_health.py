"""Healthy is what works: each thing that does not is a reason, and no challenge is taken meanwhile."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from ingress import health as module
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.probe import check_writable
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.supervisor import free_ports
from tests.claims import claim
from tests.ingress.conftest import HERE, Serve, body_of, post

JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def every_look_is_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORE_EVERY_S", "EMBEDDER_EVERY_S", "CHAIN_EVERY_S", "FRESH_S"):
        monkeypatch.setattr(module, name, 0.0)


def unwell(client: TestClient) -> str:
    """The one reason why this validator is unhealthy, which is why it takes no challenge."""
    health: Any = client.get("/availability/health").json()
    assert health["status"] == "unhealthy"
    (reason,) = health["reasons"]
    refused = post(client, body_of("refused"), JSON)
    assert (refused.status_code, refused.json()["detail"]) == (503, reason)
    assert int(refused.headers["retry-after"]) > 0
    assert client.get("/availability").json() == {"available": False}
    return str(reason)


def well(client: TestClient, challenge_id: str = "c-1") -> None:
    health: Any = client.get("/availability/health").json()
    assert (health["status"], health["reasons"]) == ("healthy", [])
    assert post(client, body_of(challenge_id), JSON).status_code == 201


def seen(settings: Settings, age: timedelta) -> None:
    """A metagraph of that age: only its name is looked at."""
    at = datetime.now(UTC) - age
    import polars as pl

    frame = pl.DataFrame({"block": [1]})
    Tables(settings.tables_root).write("metagraph", TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-100", at), frame)


def test_a_validator_that_just_started_takes_challenges(serve: Serve) -> None:
    well(serve(HERE))


def test_w_2_a_store_that_is_locked_is_unhealthy(
    serve: Serve, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loosh_pipeline.store.probe.WAIT_MS", 10)
    client = serve(HERE)
    lock = sqlite3.connect(settings.inbox_url.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        assert "the store cannot be written: database is locked" in unwell(client)
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    well(client)


def test_no_reason_names_a_host_a_port_or_a_path(caplog: pytest.LogCaptureFixture) -> None:
    """The database is told by strangers' eyes alone through its kind of error; the log has the rest."""
    engine = create_engine("postgresql+psycopg2://u:p@127.0.0.1:1/d")
    with pytest.raises(StoreError) as refused:
        check_writable(engine, datetime.now(UTC))
    assert str(refused.value) == "the store cannot be written: OperationalError; is its disk full, or locked?"
    assert "127.0.0.1" in str(refused.value.__cause__)


def test_who_commits_needs_no_probe_that_would_wait_its_turn(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    health = serve(HERE).app.state.parts.health  # type: ignore[attr-defined]

    def busy(*_: object) -> None:
        raise StoreError("database is locked")

    monkeypatch.setattr(module, "check_writable", busy)
    monkeypatch.setattr(module, "STORE_EVERY_S", 60.0)
    with pytest.raises(StoreError, match="database is locked"):
        health._store()
    health.took_one()
    assert health._store() is None


def test_tables_that_cannot_be_written_are_unhealthy(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    parts = client.app.state.parts  # type: ignore[attr-defined]
    moved = Path(settings.tables_root).rename(Path(settings.tables_root).with_name("away"))
    try:
        parts.health.look(0.0)
        assert "the tables cannot be written: No such file or directory" in unwell(client)
    finally:
        moved.rename(settings.tables_root)
    parts.health.look(0.0)
    well(client)


def test_a_read_only_file_system_is_called_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says `disk I/O error` for it, or `attempt to write a readonly database`."""
    engine = Inbox.open(settings.inbox_url).engine
    monkeypatch.setattr("loosh_pipeline.store.probe.is_read_only", lambda directory: directory == settings.home)
    engine.dispose()
    with engine.begin() as writer:
        monkeypatch.setattr("loosh_pipeline.store.probe.WAIT_MS", 10)
        with pytest.raises(StoreError, match="cannot be written: its file system is read-only; look into the kernel"):
            check_writable(engine, datetime.now(UTC))
        writer.rollback()
    engine.dispose()


def test_w_2_a_store_that_is_gone_is_unhealthy(serve: Serve, settings: Settings) -> None:
    client = serve(HERE)
    Path(settings.inbox_url.removeprefix("sqlite:///")).unlink()
    assert "is gone" in unwell(client)


def test_w_2_nobody_who_consumes_is_unhealthy(serve: Serve, settings: Settings) -> None:
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    inbox.accept(ChallengeId("old"), {"id": "old", "prompt": "hi"}, now - timedelta(minutes=5))
    client = serve(HERE)
    assert "has waited 30" in unwell(client)
    inbox.accept(ChallengeId("run"), {"id": "run", "prompt": "hi"}, now)
    claim(inbox, ChallengeId("run"), datetime.now(UTC))
    well(client)  # a long queue is no dead consumer


def test_the_bound_of_waiting_is_a_setting(serve: Serve, settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    inbox.accept(ChallengeId("old"), {"id": "old", "prompt": "hi"}, datetime.now(UTC) - timedelta(seconds=5))
    assert "has waited 5 s" in unwell(serve(HERE, unconsumed_after_s=2.0))


@pytest.mark.parametrize("setting", ["embedder_url", "embedding_model"])
def test_w_2_an_embedder_that_cannot_be_reached_is_unhealthy(serve: Serve, setting: str) -> None:
    (port,) = free_ports(1)
    reason = unwell(serve(HERE, **{setting: f"http://127.0.0.1:{port}/"}))
    assert reason == "the embedder is not ready: it cannot be reached (ConnectError)"


# httpcore leaves a unix socket that it cannot connect to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_an_embedder_may_be_on_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    reason = unwell(serve(HERE, embedder_url=f"unix://{tmp_path}/e.sock"))
    assert reason == "the embedder is not ready: it cannot be reached (ConnectError)"


def test_an_embedder_may_restart_before_it_is_missed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    client = serve(HERE, embedder_url=f"http://127.0.0.1:{port}")
    embedder = client.app.state.parts.health._embedder  # type: ignore[attr-defined]
    monkeypatch.setattr(embedder, "_wrong", lambda _url: None)
    well(client)
    monkeypatch.undo()
    well(client, "c-2")
    embedder._ready_s = time.monotonic() - 11
    assert "the embedder is not ready" in unwell(client)


@pytest.mark.parametrize(("age_s", "healthy"), [(60, True), (3500, True), (3700, False)])
def test_w_2_a_chain_that_was_not_seen_lately_is_unhealthy(
    serve: Serve, settings: Settings, age_s: int, healthy: bool
) -> None:
    seen(settings, timedelta(days=2))
    seen(settings, timedelta(seconds=age_s))
    client = serve(HERE)
    if healthy:
        well(client)
    else:
        assert f"the chain was last seen {age_s}" in unwell(client)


def test_a_chain_that_was_never_seen_is_missed_after_a_while(serve: Serve) -> None:
    client = serve(HERE)
    client.app.state.parts.health._started_s -= 601  # type: ignore[attr-defined]
    assert "the chain was not seen since the start" in unwell(client)


def test_a_slow_refresh_of_the_chain_is_not_missed(serve: Serve, settings: Settings) -> None:
    seen(settings, timedelta(hours=2))
    well(serve(HERE, metagraph_refresh_s=3600.0))


def test_a_probe_that_fails_is_a_reason_and_no_crash(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no such mount\n")

    monkeypatch.setattr(Tables, "newest_first", broken)
    assert unwell(serve(HERE)) == "the chain's snapshots cannot be read (OSError)"


def test_nobody_who_looks_is_unhealthy(serve: Serve) -> None:
    health = serve(HERE).app.state.parts.health  # type: ignore[attr-defined]
    health.stop()
    assert health.reasons() == ()
    object.__setattr__(health.condition, "at_s", health.condition.at_s - 100)
    assert "nobody could look" in health.reasons()[0]


def test_the_network_is_told_the_version_that_is_set(serve: Serve) -> None:
    health: Any = serve(reported_version="1.2.9").get("/availability/health").json()
    assert (health["service_name"], health["version"]) == ("loosh-inference-validator", "1.2.9")


def test_nonces_are_forgotten_when_they_are_too_old(serve: Serve) -> None:
    parts = serve(HERE).app.state.parts  # type: ignore[attr-defined]
    from loosh_pipeline.domain import Hotkey
    from loosh_pipeline.store.nonces import Nonce, Nonces

    nonces, now = Nonces(parts.inbox.engine), datetime.now(UTC)
    nonces.use(Nonce(Hotkey("5A"), "old", now - timedelta(seconds=1)))
    nonces.use(Nonce(Hotkey("5A"), "new", now + timedelta(seconds=60)))
    assert parts.health._forget_nonces() is None
    assert nonces.count() == 1


def test_what_came_up_a_moment_ago_is_seen_before_anything_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EMBEDDER_EVERY_S", 1e9)
    client = serve(HERE, embedder_url="http://127.0.0.1:1")
    assert client.get("/availability").json() == {"available": False}
    monkeypatch.setattr(client.app.state.parts.health._embedder, "_wrong", lambda _url: None)  # type: ignore[attr-defined]
    assert post(client, body_of("c-1"), JSON).status_code == 201

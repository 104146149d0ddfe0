"""A small data directory with something of everything in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import open_database
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import sessions
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.users import Users

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KEY = b"k3y-of-a-session-that-is-nobodys"


def accept(settings: Settings, *challenges: str) -> None:
    """Accept challenges and write a table of each."""
    inbox = Inbox.open(settings.inbox_url)
    for each in challenges:
        inbox.accept(ChallengeId(each), {"id": each, "prompt": f"what is {each}?"}, NOW)
        Tables(settings.tables_root).write("miner_responses", TableKey.of(each, NOW), pl.DataFrame({"text": [each]}))
    inbox.engine.dispose()


def open_session(settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    until = NOW + timedelta(hours=1)
    with inbox.engine.begin() as connection:
        connection.execute(
            sessions.insert().values(role="miner", peer="p", uuid="u", symmetric_key=KEY, expires_at=until)
        )
    inbox.engine.dispose()


def challenges_in(home: Path) -> set[str]:
    inbox = Inbox.open(f"sqlite:///{home}/validator.db")
    try:
        return {str(row.id) for row in inbox.recent(1000)}
    finally:
        inbox.engine.dispose()


def texts_in(home: Path) -> set[str]:
    tables = Tables(str(home / "tables"))
    keys = tables.newest_first("miner_responses")
    return {tables.read("miner_responses", key)["text"].item() for key in keys}


@pytest.fixture
def places(settings: Settings) -> Places:
    accept(settings, "c-1", "c-2")
    open_session(settings)
    users = open_database(settings.users_url, "users")
    Users(users).register(Hotkey("5Someone"), NOW)
    users.dispose()
    for path in ("logs/ingress.log", "heatmaps/c-1.svg", "models/m/model.onnx", "wallets/v/hotkeys/v", "chain/x"):
        (settings.home / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / path).write_text(path)
    return Places.of(settings)


@pytest.fixture
def backup(places: Places, tmp_path: Path) -> Path:
    return take_backup(places, tmp_path / "b.tar", NOW).path

"""What a store can live in: SQLite or, where one is installed, a real Postgres; a disk, or a stand-in for objects."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from sqlalchemy import create_engine, text

from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.tables import Tables
from tests.postgres import running_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a Postgres of our own, on a Unix socket, gone at the end."""
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def inbox_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/validator.db"
    url: str = request.getfixturevalue("postgres_server")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture
def inbox(inbox_url: str) -> Iterator[Inbox]:
    inbox = Inbox.open(inbox_url)
    yield inbox
    inbox.engine.dispose()


@pytest.fixture
def outbox(inbox: Inbox) -> Outbox:
    """Without jitter, so that pauses can be told."""
    return Outbox(inbox.engine, jitter=lambda: 0.0)


@pytest.fixture(params=["local", "memory"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    """The same on a disk and on a stand-in for an object store."""
    if request.param == "local":
        yield Tables(str(tmp_path / "ta 'b'les%20#ü"))
        return
    root = f"memory://{uuid.uuid4().hex}/tables"
    yield Tables(root)
    fsspec.filesystem("memory").rm("/" + root.removeprefix("memory://").split("/")[0], recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files of rounds that were read."""
    names: list[str] = []
    read = Tables.read_files

    def logged(self: Tables, asset: str, day: date, files: Sequence[str], schema: Any) -> pl.DataFrame:
        names.extend(files)
        return read(self, asset, day, files, schema)

    monkeypatch.setattr(Tables, "read_files", logged)
    return names

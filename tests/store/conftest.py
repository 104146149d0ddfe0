"""The inbox and the outbox on both databases they can live in: SQLite, and a real Postgres where one is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox

SERVER_USER = "postgres"
START_WITHIN_S = 20.0


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a Postgres of our own, on a Unix socket, gone at the end."""
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("Postgres is not installed")
    folder = Path(tempfile.mkdtemp(prefix="loosh-pg-"))
    user = SERVER_USER if os.getuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    create = ["initdb", "--no-sync", "--auth=trust", f"--username={SERVER_USER}", "--encoding=UTF8", str(data)]
    subprocess.run(create, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
    serve = ["postgres", "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(serve, user=user, cwd=folder, stdout=log, stderr=log)
    url = f"postgresql+psycopg2://{SERVER_USER}@/postgres?host={folder}"
    try:
        _wait_for(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(START_WITHIN_S)
        shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + START_WITHIN_S
    engine = create_engine(url)
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)
        else:
            engine.dispose()
            return


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

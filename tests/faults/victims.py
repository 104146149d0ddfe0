"""Which process of a validator is meant by a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loosh_pipeline.devnet.behaviours import Behaviour
from loosh_pipeline.processes import Process, processes_of
from tests.e2e.processes import connected_ports
from tests.faults.installation import Installation

COMMANDS = {
    "ingress": " -m ingress",
    "embedder": " -m loosh_pipeline.embedding",
    "daemon": " -m dagster._daemon",
    "webserver": " -m dagster_webserver",
    "code-server": " -m dagster api grpc",
    "worker-parent": " -m loosh_pipeline.workers\n",
    "upkeep": " -m loosh_pipeline.workers --queue upkeep",
    "loosh-up": " -m loosh_pipeline.cli up",
}
"""What stands in the command of each; a line's end at its end."""


def pid_of(home: Path, name: str) -> int | None:
    """The process that bears this name; of several with its command the one that started the others."""
    found = list(_with_command(home, name))
    pids = {process.pid for process in found}
    return next((process.pid for process in found if process.parent not in pids), None)


def child_of_worker(home: Path) -> int | None:
    """A process in which runs are executed."""
    pids = {process.pid for process in _with_command(home, "worker-parent")}
    return next((p.pid for p in processes_of(home) if p.parent in pids), None)


def child_that_asks(validator: Installation) -> int | None:
    """The process of a run that waits for a slow miner."""
    slow = {miner.port for miner in validator.devnet.miners if miner.behaviour is Behaviour.SLOW}
    pids = {process.pid for process in _with_command(validator.home, "worker-parent")}
    children = [p.pid for p in processes_of(validator.home) if p.parent in pids]
    return next((pid for pid in children if slow & connected_ports(pid)), None)


def _with_command(home: Path, name: str) -> Iterator[Process]:
    return (process for process in processes_of(home) if is_meant(process, name))


def is_meant(process: Process, name: str) -> bool:
    return COMMANDS[name] in f"{process.command.rstrip()}\n"

"""Processes of one validator, found by the data directory in their environment: nobody else's are ever touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    command: str


def processes_of(home: Path) -> Iterator[Process]:
    """Live processes that were started with this LOOSH_HOME."""
    ours = f"LOOSH_HOME={home}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if ours not in (directory / "environ").read_bytes().split(b"\0"):
                continue
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or it is someone else's
        yield Process(int(directory.name), int(parent), command)


def ingress_pid(home: Path) -> int:
    (pid,) = (process.pid for process in processes_of(home) if process.command.split()[1:] == ["-m", "ingress"])
    return pid


def code_server_pid(home: Path) -> int:
    (pid,) = (process.pid for process in processes_of(home) if " api grpc " in process.command)
    return pid


def run_worker_pids(home: Path) -> set[int]:
    """Processes in which the code server executes runs."""
    found = list(processes_of(home))
    servers = {process.pid for process in found if " api grpc " in process.command}
    return {p.pid for p in found if p.parent in servers and "multiprocessing.spawn" in p.command}


def connected_ports(pid: int) -> set[int]:
    """Ports on loopback to which a process has a TCP connection; none when it has ended."""
    try:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:
        return set()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in links}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

"""Processes of one validator that tests look at and kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from loosh_pipeline.processes import processes_of


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

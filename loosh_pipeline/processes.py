"""Processes of one validator, found by the data directory in their environment: nobody else's are ever touched.

Through /proc, which only Linux has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """`command`: its words, joined by spaces."""

    pid: int
    parent: int
    command: str


def processes_of(home: Path) -> Iterator[Process]:
    """Live processes that were started with this LOOSH_HOME, forked ones too."""
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

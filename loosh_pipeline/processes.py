"""Processes of one validator, found by the data directory in their environment: nobody else's are ever touched.

Through /proc, which only Linux has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """`command`: its words, joined by spaces."""

    pid: int
    parent: int
    command: str


def processes_of(home: Path) -> Iterator[Process]:
    """Live processes that were started with this LOOSH_HOME, by whatever path, forked ones too."""
    real = os.path.realpath(home)
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            named = _home_of(directory)
            if named is None or (named != str(home) and os.path.realpath(named) != real):
                continue
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            parent = _parent_of(directory)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or it is someone else's
        yield Process(int(directory.name), parent, command)


def family_of(pid: int) -> set[int]:
    """A process and those that it has started, and they, and so on, as far as they live."""
    children: dict[int, list[int]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            children.setdefault(_parent_of(directory), []).append(int(directory.name))
    found, new = {pid}, [pid]
    while new:
        new = [child for each in new for child in children.get(each, []) if child not in found]
        found.update(new)
    return found


def _home_of(directory: Path) -> str | None:
    """The LOOSH_HOME in the environment of a process; a relative one is where that process is."""
    prefix = b"LOOSH_HOME="
    given = next((each for each in (directory / "environ").read_bytes().split(b"\0") if each.startswith(prefix)), None)
    if given is None:
        return None
    path = os.path.expanduser(os.fsdecode(given.removeprefix(prefix)))
    return path if os.path.isabs(path) else os.path.join((directory / "cwd").readlink(), path)


def _parent_of(directory: Path) -> int:
    return int((directory / "stat").read_text().rpartition(")")[2].split()[1])

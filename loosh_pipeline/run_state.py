"""What `loosh up` tells others of its processes: a small file in LOOSH_HOME, for metrics and alerts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from loosh_pipeline.supervisor import Death, Supervisor

FILE = "processes.json"


@dataclass(frozen=True, slots=True)
class Processes:
    """`pids` of services by name, how each died lately, the newest last, and how often in all."""

    pids: Mapping[str, int]
    deaths: Mapping[str, Sequence[Death]]
    died: Mapping[str, int]


class RunState:
    """Keeps the file as the supervisor's state is; called in its loop, it writes when something has changed.

    A file that cannot be written (a full disk) is tried again at the next call.
    """

    def __init__(self, home: Path, supervisor: Supervisor) -> None:
        self._file = home / FILE
        self._supervisor = supervisor
        self._written = ""

    def keep(self) -> None:
        text = json.dumps(self._state())
        if text == self._written:
            return
        temporary = self._file.with_name(f".{FILE}.{os.getpid()}")
        try:
            temporary.write_text(text)
            temporary.replace(self._file)
        except OSError:
            return
        self._written = text

    def _state(self) -> dict[str, Any]:
        deaths = self._supervisor.deaths()
        return {
            "pids": dict(self._supervisor.pids()),
            "died": dict(self._supervisor.died()),
            "deaths": {
                name: [{"at": each.at.isoformat(), "why": each.why} for each in those] for name, those in deaths.items()
            },
        }


def processes(home: Path) -> Processes:
    """What was kept last; nothing where there is no such file, or none that can be read."""
    try:
        stored = json.loads((home / FILE).read_text())
        pids = {str(name): int(pid) for name, pid in stored["pids"].items()}
        deaths = {
            str(name): [Death(_aware(each["at"]), str(each["why"])) for each in those]
            for name, those in stored["deaths"].items()
        }
        died = {str(name): int(count) for name, count in stored.get("died", {}).items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Processes({}, {}, {})
    return Processes(pids, deaths, died)


def forget(home: Path) -> None:
    """What an earlier `loosh up` kept is not of this one, which is only starting."""
    with suppress(OSError):
        (home / FILE).unlink(missing_ok=True)


def _aware(text: str) -> datetime:
    """Raises ValueError for a time without a zone, which can be compared with none."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} has no zone")
    return at

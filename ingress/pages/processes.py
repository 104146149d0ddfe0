"""The processes of this validator, as the overview lists them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingress.outlook import View
from ingress.pages.concerns import Tone
from ingress.pages.passages import cut
from loosh_pipeline.alerting.conditions import Source
from loosh_pipeline.settings.roles import DAGSTER
from loosh_pipeline.workers.config import EVALUATIONS, UPKEEP

QUEUES: Mapping[str, str] = {"worker": EVALUATIONS, "upkeep": UPKEEP}
"""Which queue each kind of worker takes runs from."""
DOES: Mapping[str, str] = {
    "ingress": "takes challenges, and serves these pages",
    "embedder": "makes vectors of answers",
    "code-server": "tells Dagster what there is to make",
    "dagster-webserver": "serves Dagster's pages, and launches runs",
    "dagster-daemon": "ticks sensors and schedules",
    "worker": "asks miners, and scores their answers",
    "upkeep": "sets weights, and runs all other jobs",
}
"""What the processes of a whole validator are for, wherever they run."""
TELLS = {"alerts": "tells the webhook of alerts"}
"""Those that not every validator has."""
TONES: Mapping[str, Tone] = {"runs": "good", "listens": "warn", "starting": "warn", "stopped": "bad"}
NOTE_ROOM = 300
"""Bytes of a note, which may repeat what another process said."""
NOTES: Mapping[str, str] = {
    "starting": "it does not listen yet",
    "listens": "its port is taken, by no process of this data directory",
    "stopped": "it was not started",
}


@dataclass(frozen=True, slots=True)
class ProcessLine:
    """One process: its state, and a reason or what is known of it. `at`, `pid`: for the operator alone.

    `tone`: None where it is not seen from here, though nothing says that it is away.
    """

    name: str
    tone: Tone | None
    state: str
    note: str
    pid: int | None = None
    at: str | None = None

    @property
    def does(self) -> str:
        """What it is for."""
        return {**DOES, **TELLS}.get(self.name, "")


def process_lines(view: View) -> list[ProcessLine]:
    """All processes of this validator, those of other machines too, as far as something is known of them."""
    here = {each["name"]: each for each in view.processes}
    extra = [name for name in here if name not in DOES]
    return [_line(name, here.get(name), view) for name in (*DOES, *extra)]


def _line(name: str, found: Mapping[str, Any] | None, view: View) -> ProcessLine:
    if name == "ingress":  # it tells this
        return ProcessLine(name, "good", "runs", "", *_where(found))
    if found is None or found["state"] == "elsewhere":
        return _elsewhere(name, view)
    state = str(found["state"])
    return ProcessLine(name, TONES[state], state, _ends(name, view) or NOTES.get(state, ""), *_where(found))


def _ends(name: str, view: View) -> str:
    """How it ended lately, though nobody asked it to; empty where it did not."""
    deaths = view.deaths.get(name, ())
    if not deaths:
        return ""
    times = "once" if len(deaths) == 1 else f"{len(deaths)} times"
    last = deaths[-1]
    return f"ended {times} lately; the last time, at {last.at:%Y-%m-%d %H:%M:%S}, it {cut(last.why, NOTE_ROOM)}"


def _where(found: Mapping[str, Any] | None) -> tuple[int | None, str | None]:
    return (None, None) if found is None else (found["pid"], found["at"])


def _elsewhere(name: str, view: View) -> ProcessLine:
    if name in QUEUES:
        return _workers_elsewhere(name, view)
    if name in DAGSTER:
        why = view.blind.get(Source.DAGSTER)
        return ProcessLine(name, None if why is None else "bad", "elsewhere", f"Dagster {_answers(why)}")
    return ProcessLine(name, None, "elsewhere", "challenges are refused when it is away")


def _answers(why_not: str | None) -> str:
    return "answers" if why_not is None else f"does not answer: {cut(why_not, NOTE_ROOM)}"


def _workers_elsewhere(name: str, view: View) -> ProcessLine:
    queue = QUEUES[name]
    heard = [each for each in view.hosts if each["queue"] == queue and each["heard"]]
    if not heard:
        return ProcessLine(name, "bad", "elsewhere", "no machine is heard of")
    processes, busy = (sum(each[what] for each in heard) for what in ("processes", "busy"))
    machines = "one machine" if len(heard) == 1 else f"{len(heard)} machines"
    return ProcessLine(name, None, "elsewhere", f"{processes} processes on {machines}, {busy} busy")

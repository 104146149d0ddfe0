"""`loosh weights …`: for the operator who sets them by hand, once."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from loosh_pipeline.orchestrator import FINISHED_RUNS, WEIGHTS_JOB, DagsterApi, RunOutcome
from loosh_pipeline.policy.checks import WAIVABLE, waivers
from loosh_pipeline.settings import get_settings

POLL_S = 0.5
out = Console()


def set_(
    waive: Annotated[
        list[str] | None,
        typer.Option(help=f"a check to waive for this one run: {', '.join(WAIVABLE)}; may be repeated"),
    ] = None,
    within_s: Annotated[float, typer.Option(min=0.0, help="how long the run is waited for")] = 600.0,
) -> None:
    """Propose, check and set weights now, as the schedule would, and say what came of it.

    Neither the chain's rate limit nor a check that cannot be waived is passed over. What was waived is kept with the
    proposal.
    """
    waived, settings = waivers(waive or ()), get_settings()
    dagster = DagsterApi.at(str(settings.dagster_url or f"http://127.0.0.1:{settings.dagster_port}"))
    try:
        config = {"ops": {"weight_proposal": {"config": {"waive": list(waived)}}}}
        run_id = dagster.launch(WEIGHTS_JOB, {}, config)
        out.print(f"run {run_id}" + (f", waiving {', '.join(waived)}" if waived else ""), highlight=False)
        status = _awaited(dagster, run_id, within_s)
        _print(dagster.outcome(run_id), status)
    finally:
        dagster.close()
    if status != "SUCCESS":
        raise typer.Exit(1)


def _awaited(dagster: DagsterApi, run_id: str, within_s: float) -> str:
    """The status of a run when it has ended, or when patience has."""
    deadline_s = time.monotonic() + within_s
    while (status := dagster.run_status(run_id)) not in FINISHED_RUNS and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    return status


def _print(outcome: RunOutcome, status: str) -> None:
    for title, lines in (("check failed", outcome.blocked), ("warning", outcome.warned), ("", outcome.said)):
        for line in lines:
            out.print(f"{title + ': ' if title else ''}{escape(line)}", highlight=False, soft_wrap=True)
    ended = {"SUCCESS": "the run succeeded", "FAILURE": "nothing was set, or it is not known whether"}
    out.print(f"{ended.get(status, 'the run has not ended')} ({status})", highlight=False)

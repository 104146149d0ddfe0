"""`loosh weights …`: for the operator who sets them by hand, once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from loosh_pipeline.cli.allowed import completing
from loosh_pipeline.cli.telling import NOT_YET, AsJson, err, out, tell_json
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.lock import runs_in
from loosh_pipeline.orchestrator import FINISHED_RUNS, WEIGHTS_JOB, DagsterApi, NotReady, RunOutcome
from loosh_pipeline.policy.checks import WAIVABLE, waivers
from loosh_pipeline.run_tags import LAUNCHED_BY_TAG
from loosh_pipeline.settings import Settings, get_settings

POLL_S = 0.5
WEIGHTS = "weights"
AFTER_SUBMISSION = frozenset({"audit_seals", "weight_receipts", "penalties"})
"""Steps that come once weights are submitted."""


def set_(
    waive: Annotated[
        list[str] | None,
        typer.Option(
            help=f"a check to waive for this one run: {', '.join(WAIVABLE)}; may be repeated",
            autocompletion=completing(lambda: WAIVABLE),
        ),
    ] = None,
    within_s: Annotated[float, typer.Option(min=0.0, help="how long the run is waited for")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Propose, check and set weights now, as the schedule would, and say what came of it.

    Neither the chain's rate limit nor a check that cannot be waived is passed over. What was waived is kept with the
    proposal. Ends with 0 when weights were set, 3 when it is not yet time, 1 when the run failed.
    """
    waived, settings = waivers(waive or ()), get_settings()
    dagster = DagsterApi.at(str(settings.dagster_url or settings.own_dagster_url))
    try:
        config: dict[str, Any] = {"ops": {"weight_proposal": {"config": {"waive": list(waived)}}}}
        run_id = launched(dagster, settings, WEIGHTS_JOB, {}, config)
        said = f"run {run_id}" + (f", waiving {', '.join(waived)}" if waived else "")
        (err if as_json else out).print(said, highlight=False)
        status = _awaited(dagster, run_id, within_s)
        outcome = dagster.outcome(run_id)
    finally:
        dagster.close()
    code, said = _ending(outcome, status)
    if as_json:
        about = {"run_id": run_id, "status": status, "set": code == 0, "said": said, "waived": list(waived)}
        tell_json(about | {"blocked": outcome.blocked, "warned": outcome.warned, "notes": outcome.said})
    else:
        _print(outcome)
        out.print(f"{said} ({status})", highlight=False, soft_wrap=True)
    if code:
        raise typer.Exit(code)


def launched(
    dagster: DagsterApi, settings: Settings, job: str, tags: Mapping[str, str], config: Mapping[str, Any]
) -> str:
    """Launch a job of the validator that runs here; returns the run's id. Raises ServiceError where none runs."""
    try:
        return dagster.launch(job, {**tags, LAUNCHED_BY_TAG: "command"}, config)
    except NotReady as error:
        if settings.dagster_url is not None or runs_in(settings.home):
            raise
        raise ServiceError(f"no validator runs here ({settings.home}): start `loosh up`") from error


def _awaited(dagster: DagsterApi, run_id: str, within_s: float) -> str:
    """The status of a run when it has ended, or when patience has."""
    deadline_s = time.monotonic() + within_s
    while (status := dagster.run_status(run_id)) not in FINISHED_RUNS and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    return status


def _ending(outcome: RunOutcome, status: str) -> tuple[int, str]:
    """With which code to end, and what came of the run in a line."""
    if status not in FINISHED_RUNS:
        return 1, "the run has not ended"
    if status == "SUCCESS":
        return (
            (NOT_YET, "nothing was set: it is not yet time") if WEIGHTS in outcome.skipped else (0, "weights were set")
        )
    if WEIGHTS in outcome.failed:
        return 1, "the submission failed; `loosh chain status` says what became of it"
    if outcome.blocked or outcome.failed.isdisjoint(AFTER_SUBMISSION):
        return 1, "nothing was set"
    return 1, "weights were set, and what follows failed"


def _print(outcome: RunOutcome) -> None:
    for title, lines in (("check failed", outcome.blocked), ("warning", outcome.warned), ("", outcome.said)):
        for line in lines:
            out.print(f"{title + ': ' if title else ''}{escape(line)}", highlight=False, soft_wrap=True)

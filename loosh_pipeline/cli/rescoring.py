"""`loosh rescore`: stored challenges scored again by the running validator, as its UI does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loosh_pipeline.cli.allowed import completing
from loosh_pipeline.cli.telling import NOT_YET, AsJson, err, out, tell_json
from loosh_pipeline.cli.weights import launched
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.orchestrator import (
    FINISHED_RUNS,
    FIRST_RESCORED_DAY,
    PARTITION_TAG,
    RESCORE_DAY_JOB,
    RESCORE_JOB,
    RESCORED,
    RESCORED_DAYS,
    DagsterApi,
)
from loosh_pipeline.settings import Settings, get_settings

POLL_S, LONGEST_POLL_S, SLOWER = 0.5, 5.0, 1.3
"""The first pause between two looks, the longest, and how they grow."""
LOST = "UNKNOWN"
"""The status of a run of which Dagster knows nothing any more: it was deleted."""
ENDED = (*FINISHED_RUNS, LOST)
MOST_CHALLENGES = 100
"""Given one by one, each with a run; more are scored by their days."""


@dataclass
class RescoringRun:
    """A run that scores a day or a challenge again, and what its page shows of it."""

    partition: str
    run_id: str
    status: str = "QUEUED"
    figures: Mapping[str, Any] = field(default_factory=dict)
    said: Sequence[str] = ()


def profiles() -> Sequence[str]:
    from loosh_pipeline.rescoring.wanted import profile_names

    return profile_names()


def rescore(
    challenges: Annotated[
        list[str] | None, typer.Argument(metavar="[CHALLENGE]...", help="ids; or give days by --since")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="first UTC day of challenges, like 2026-11-20")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="last day; today without it")] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="by which profile; without it, by what pays", autocompletion=completing(profiles)),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="a parameter to try; may be repeated. What is tried never pays"
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="write over stored rows of the same version that differ, even what paid")
    ] = False,
    within_s: Annotated[
        float, typer.Option(min=0.0, help="how long is waited for the next run to end; they go one by one")
    ] = 4 * 3600.0,
    as_json: AsJson = False,
) -> None:
    """Score stored challenges again, under today's parameters or others, and say what that changes.

    No miner is asked, and rows that are stored stay. Ends with 0 when all runs succeeded, 3 when nothing is stored
    there, 1 when a run failed, has not ended, nothing could be scored, or stored rows of the same version differ.
    """
    from loosh_pipeline.rescoring.wanted import typed_parameters, wanted_profile

    settings, parameters = get_settings(), typed_parameters(set_ or ())
    wanted_profile(profile or settings.pay_profile, parameters)
    job, asset, partitions = _wanted(challenges or [], since, until)
    given = {"profile": profile or "", "parameters": parameters} | ({"replace": True} if replace else {})
    config = {"ops": {asset: {"config": given}}}
    url = str(settings.dagster_url or f"http://127.0.0.1:{settings.dagster_port}")
    with closing(DagsterApi.at(url)) as dagster:
        runs = _launch_all(dagster, settings, job, partitions, config)
        _await_all(dagster, asset, runs, within_s)
    if as_json:
        tell_json({"profile": profile or settings.pay_profile, "parameters": parameters, "runs": [*map(asdict, runs)]})
    else:
        _print(runs)
    if code := _code(runs):
        raise typer.Exit(code)


def _wanted(challenges: Sequence[str], since: str | None, until: str | None) -> tuple[str, str, list[str]]:
    """The job, its asset and the partitions. Raises ConfigError for no choice, two, or days that are none."""
    if bool(challenges) == bool(since):
        raise ConfigError("give ids of challenges, or days by --since DAY [--until DAY]; one of them")
    if since is None:
        if until is not None:
            raise ConfigError("--until is for days; give --since too, and no ids")
        if len(challenges) > MOST_CHALLENGES:
            raise ConfigError(f"{len(challenges)} ids are many runs; score their days again by --since and --until")
        return RESCORE_JOB, RESCORED, list(dict.fromkeys(challenges))
    today = datetime.now(UTC).date()
    first, last = _day("--since", since), today if until is None else _day("--until", until)
    if first < date.fromisoformat(FIRST_RESCORED_DAY):
        raise ConfigError(f"--since {since} is before {FIRST_RESCORED_DAY}, the first day that is scored again")
    if not first <= last <= today:
        raise ConfigError(f"the days from {first} to {last} are none of the past; today is {today} (UTC)")
    return RESCORE_DAY_JOB, RESCORED_DAYS, [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text} is no day; write it like 2026-11-20") from error


def _launch_all(
    dagster: DagsterApi, settings: Settings, job: str, partitions: Sequence[str], config: Mapping[str, Any]
) -> list[RescoringRun]:
    def launch(partition: str) -> RescoringRun:
        return RescoringRun(partition, launched(dagster, settings, job, {PARTITION_TAG: partition}, config))

    return [launch(partition) for partition in partitions]


def _await_all(dagster: DagsterApi, asset: str, runs: Sequence[RescoringRun], within_s: float) -> None:
    """Until all have ended, or none has for so long; then with what each says of itself."""
    ended_s, pause_s = time.monotonic(), POLL_S
    with _progress(len(runs)) as advance:
        left = list(runs)
        while True:
            statuses = dagster.run_statuses([run.run_id for run in left])
            for run in left:
                run.status = statuses.get(run.run_id, LOST)
                if run.status in ENDED:
                    advance()
                    ended_s, pause_s = time.monotonic(), POLL_S
                    _ask(dagster, asset, run)
            left = [run for run in left if run.status not in ENDED]
            if not left or time.monotonic() >= ended_s + within_s:
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * SLOWER, LONGEST_POLL_S)


def _ask(dagster: DagsterApi, asset: str, run: RescoringRun) -> None:
    if run.status == "SUCCESS":
        run.figures = dagster.materialized(asset, run.partition, run.run_id)
    elif run.status != LOST:
        run.said = dagster.outcome(run.run_id).said


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("runs ended", total=count)
        yield lambda: bar.advance(task)


def _code(runs: Sequence[RescoringRun]) -> int:
    if any(run.status != "SUCCESS" for run in runs):
        return 1
    if any(_differs(run) for run in runs):
        return 1
    if any(_rescored(run) for run in runs):
        return 0
    return 1 if any("unscorable" in run.figures and run.figures["unscorable"] for run in runs) else NOT_YET


def _rescored(run: RescoringRun) -> int:
    """How many challenges a run scored: a page of a challenge counts nothing."""
    return int(run.figures.get("rescored", "scorer_version" in run.figures))


def _differs(run: RescoringRun) -> int:
    """Of how many challenges stored rows differ and stay; a page of a challenge names its columns."""
    found = run.figures.get("differs", 0)
    return found if isinstance(found, int) else int(not str(run.figures.get("written", "")).startswith("yes"))


def _print(runs: Sequence[RescoringRun]) -> None:
    table = Table("of", "run", "scored", "round's pay moved", "rank correlation", "remark", title="scored again")
    for run in runs:
        about = run.figures
        moved, ranks = (
            about.get("round_pay_moved_mean", about.get("round_pay_moved", "")),
            about.get("rank_correlation_mean"),
        )
        ranks = about.get("rank_correlation", "") if ranks is None else ranks
        row = (run.partition, run.run_id[:8], str(_rescored(run)), _share(moved), _figure(ranks), _remark(run))
        table.add_row(*map(escape, row))
    out.print(table)
    changed = {name: moved for run in runs for name, moved in dict(run.figures.get("most_changed_rounds", {})).items()}
    for name, moved in sorted(changed.items(), key=lambda each: -each[1])[:10]:
        out.print(f"{escape(name)}: {moved:.1%} of the round's pay would move", highlight=False, soft_wrap=True)


def _remark(run: RescoringRun) -> str:
    if run.status != "SUCCESS":
        return "; ".join([run.status, *run.said])
    about, remarks = run.figures, []
    if isinstance(unscorable := about.get("unscorable", 0), str):
        remarks.append(f"cannot be scored: {unscorable}")
    elif unscorable:
        remarks.append(f"{unscorable} cannot be scored, see its page")
    if about.get("unreadable_scores"):
        remarks.append("some stored scores cannot be read, see its page")
    if replaced := about.get("replaced"):
        remarks.append(f"{replaced} were written over")
    if differs := _differs(run):
        remarks.append(f"stored rows of {differs} differ and stay{_where(run)}; --replace writes them over")
    return "; ".join(remarks)


def _where(run: RescoringRun) -> str:
    if isinstance(columns := run.figures.get("differs"), str):
        return f" ({columns})"
    columns, named = run.figures.get("differing_columns", {}), run.figures.get("differing", ())
    return f" ({', '.join(columns)}; {', '.join(named)})"


def _share(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float | int) else str(value)


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else str(value)

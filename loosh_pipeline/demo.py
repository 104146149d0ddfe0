"""The demonstration: a subnet and a validator on this machine, real parts only, from challenges to weights."""

from __future__ import annotations

import asyncio
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.devnet.subnet import PROMPT_PARAMETERS, DevnetInfo
from loosh_pipeline.domain import ChallengeState, Emission, ObservedWeights
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.local import devnet_process, local_settings, readiness
from loosh_pipeline.orchestrator import FINISHED_RUNS, WEIGHTS_JOB, DagsterApi
from loosh_pipeline.run_tags import LAUNCHED_BY_TAG
from loosh_pipeline.sending import challenges, push_all
from loosh_pipeline.services import LOOPBACK, services
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.frames import emissions_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.supervisor import Supervisor, supervised
from loosh_pipeline.wire.pushing import PlainSender

READY_WITHIN_S = 120.0
PUSHED_WITHIN_S = 60.0
SCORED_WITHIN_S = 180.0
WEIGHTS_WITHIN_S = 90.0
PUSH_PER_S = 4.0
WEIGHTS_EVERY_BLOCKS = 600
"""At blocks of a quarter second: the schedule sets weights again every two and a half minutes."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    challenges: int
    miners: int
    answers: Path | None
    once: bool


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demonstration came to."""

    scored: int
    responses: int
    latencies_s: list[float]
    emissions: tuple[Emission, ...]
    observed: ObservedWeights


def run_demo(plan: DemoPlan, out: Console) -> None:
    """Run it, print the table, and stay up unless told otherwise. Raises LooshError when a part fails."""
    started_at = datetime.now(UTC)
    home = get_settings().home / "demo" / f"{started_at:%Y%m%d-%H%M%S}"
    home.mkdir(parents=True)
    out.print(f"everything is kept in {home}", highlight=False)
    say = functools.partial(out.print, highlight=False)
    with devnet_process(home, say, miners=plan.miners, answers=plan.answers) as (info, _):
        settings = local_settings(info, home, weights_interval_blocks=WEIGHTS_EVERY_BLOCKS)
        with supervised(services(settings), home / "logs", say) as supervisor:
            result = demonstrate(plan, info, settings, supervisor, started_at, out)
            out.print(_miners_table(info, result))
            if not plan.once:
                _print_pages(settings, out)
                out.print("Ctrl-C stops everything.")
                supervisor.supervise()
    print(json.dumps(_summary(plan, info, result)), flush=True)


def demonstrate(
    plan: DemoPlan, info: DevnetInfo, settings: Settings, supervisor: Supervisor, since: datetime, out: Console
) -> DemoResult:
    """From challenges to weights that are read back. Raises LooshError when a part fails."""
    with _progress(out) as progress:
        step = _Steps(progress, supervisor)
        _wait_ready(settings, step)
        _push(plan, info, settings, step)
        _await_scores(plan, settings, since, step)
        _set_weights(settings, step)
        return _read_back(settings, info, since, step)


@contextmanager
def _progress(out: Console) -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out) as progress:
        yield progress


class _Steps:
    """A line of the progress bar for each step, and waiting that notices what died."""

    def __init__(self, progress: Progress, supervisor: Supervisor) -> None:
        self._progress = progress
        self._supervisor = supervisor

    def run(self, title: str, total: int, done: Callable[[], int], within_s: float, failed: Callable[[], str]) -> None:
        """Show `done` of `total` until all is done. Raises DevnetError with the reason that `failed` gives."""
        task = self._progress.add_task(f"{title:<28}", total=total)
        deadline_s = time.monotonic() + within_s
        while (count := done()) < total:
            self._progress.update(task, completed=count)
            self._supervisor.check()
            if time.monotonic() > deadline_s:
                raise DevnetError(f"{title}: {count} of {total} after {within_s:g} s; {failed()}")
            time.sleep(0.25)
        self._progress.update(task, completed=total)


def _wait_ready(settings: Settings, step: _Steps) -> None:
    dagster = DagsterApi.at(f"http://{LOOPBACK}:{settings.dagster_port}")
    checks = readiness(settings, dagster)
    ready: set[str] = set()

    def count() -> int:
        ready.update(name for name, check in checks.items() if name not in ready and check())
        return len(ready)

    def missing() -> str:
        return f"not ready: {', '.join(name for name in checks if name not in ready)}; see {settings.home / 'logs'}"

    step.run("validator ready", len(checks), count, READY_WITHIN_S, missing)
    dagster.close()


def _push(plan: DemoPlan, info: DevnetInfo, settings: Settings, step: _Steps) -> None:
    wanted = list(challenges([{"prompt": prompt} for prompt in info.prompts], plan.challenges, PROMPT_PARAMETERS))
    sender = PlainSender(f"http://{LOOPBACK}:{settings.api_port}")
    refused: dict[str, str] = {each["id"]: "not sent yet" for each in wanted}

    def accepted() -> int:
        """As the Challenge API, which comes again where a validator has no time for it."""
        answers = asyncio.run(push_all([each for each in wanted if each["id"] in refused], sender, PUSH_PER_S))
        for name, said in answers:
            refused[name] = f"{said.status}: {said.said}"
            if said.status in (httpx.codes.CREATED, httpx.codes.CONFLICT):
                del refused[name]
        return len(wanted) - len(refused)

    step.run("challenges accepted", plan.challenges, accepted, PUSHED_WITHIN_S, lambda: "; ".join(refused.values()))


def _await_scores(plan: DemoPlan, settings: Settings, since: datetime, step: _Steps) -> None:
    inbox = Inbox.open(settings.inbox_url)

    def states() -> str:
        return ", ".join(f"{count} {state}" for state, count in inbox.stats().by_state.items())

    step.run("challenges scored", plan.challenges, lambda: inbox.scored_since(since), SCORED_WITHIN_S, states)
    step.run("results told", plan.challenges, lambda: _submitted(inbox), SCORED_WITHIN_S, states)


def _submitted(inbox: Inbox) -> int:
    return inbox.stats().by_state.get(ChallengeState.SUBMITTED, 0)


def _set_weights(settings: Settings, step: _Steps) -> None:
    """Ask for the job that the schedule would start in a while."""
    dagster = DagsterApi.at(f"http://{LOOPBACK}:{settings.dagster_port}")
    run_id = dagster.launch(WEIGHTS_JOB, {LAUNCHED_BY_TAG: "command"})
    status = ""

    def done() -> int:
        nonlocal status
        status = dagster.run_status(run_id)
        return int(status in FINISHED_RUNS)

    step.run("weights set", 1, done, WEIGHTS_WITHIN_S, lambda: f"run {run_id} is {status}")
    dagster.close()
    if status != "SUCCESS":
        raise DevnetError(f"run {run_id} of {WEIGHTS_JOB} ended as {status}; open it in the Dagster UI")


def _read_back(settings: Settings, info: DevnetInfo, since: datetime, step: _Steps) -> DemoResult:
    observed = ProcessChain(settings).observe(info.netuid, info.validator)
    step.run("weights read back", 1, lambda: int(bool(observed.weights)), 0.0, lambda: "the chain holds no weights")
    inbox = Inbox.open(settings.inbox_url)
    emissions = Tables(settings.tables_root).latest("emissions")
    assert emissions is not None, "the job that set weights wrote them"
    return DemoResult(
        scored=inbox.scored_since(since),
        responses=inbox.stats().answered,
        latencies_s=inbox.latencies_s(since),
        emissions=emissions_of(emissions),
        observed=observed,
    )


def _rows(info: DevnetInfo, result: DemoResult) -> list[dict[str, Any]]:
    earned = {emission.hotkey: emission for emission in result.emissions}
    weights = result.observed.weights
    return [
        {
            "uid": miner.uid,
            "hotkey": miner.hotkey,
            "behaviour": miner.behaviour.value,
            "asked": earned[miner.hotkey].asked if miner.hotkey in earned else 0,
            "answered": earned[miner.hotkey].answered if miner.hotkey in earned else 0,
            "mean_payout": round(earned[miner.hotkey].mean_payout, 6) if miner.hotkey in earned else 0.0,
            "weight": round({int(uid): share for uid, share in weights.items()}.get(miner.uid, 0.0), 6),
        }
        for miner in info.miners
    ]


def _miners_table(info: DevnetInfo, result: DemoResult) -> Table:
    title = f"weights on the chain at block {result.observed.last_update}"
    table = Table("uid", "miner", "behaviour", title=title)
    for name in ("asked", "answered", "mean payout", "weight on chain"):
        table.add_column(name, justify="right")
    for row in sorted(_rows(info, result), key=lambda row: -row["weight"]):
        figures = (str(row["asked"]), str(row["answered"]), f"{row['mean_payout']:.3f}", f"{row['weight']:.4f}")
        table.add_row(str(row["uid"]), f"{row['hotkey'][:8]}…", row["behaviour"], *figures)
    return table


def _print_pages(settings: Settings, out: Console) -> None:
    out.print(f"Dagster UI  http://{LOOPBACK}:{settings.dagster_port}", highlight=False)
    out.print(f"ingress     {settings.ingress_url}", highlight=False)


def _summary(plan: DemoPlan, info: DevnetInfo, result: DemoResult) -> dict[str, Any]:
    return {
        "challenges": plan.challenges,
        "scored": result.scored,
        "responses": result.responses,
        "weights_set": bool(result.observed.weights),
        "weights_block": result.observed.last_update,
        "post_to_scored_p50_s": round(statistics.median(result.latencies_s), 3),
        "miners": _rows(info, result),
    }

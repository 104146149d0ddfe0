"""Whether a validator's next challenge costs what its first did: `python -m benchmarks.growth [--quick] [--json]`.

A devnet of 7 miners runs all the time, and a first validator evaluates some rounds on it with which everything is real;
of these, homes are made as validators leave them after 1,000, 10,000 and 100,000 challenges (`benchmarks.history`), 274
a day or as many as `--per-day`, compacted and pruned as the settings say. One more has the largest number, and
RETAIN_DAYS so large that Dagster shows as many of them as RETAIN_CHALLENGES allows (`-live`). On each, retention runs
once, and ticks and emissions are taken in a process of their own; then the validators of all run side by side, and
challenges are posted to one after the other, so that whatever else the machine does counts for all alike.

The ratios and `page_query_s` are the worse of the two largest:

    run_cpu_ratio        of a challenge's run, from the POST until its narrative is there: ingress, workers and the web
                         server of Dagster, which launches it; over that of the smallest size, by medians. Not the
                         embedder, whose share is the same for all and far larger (`runs.*.embedding_cpu_s`)
    tick_cpu_ratio       of one tick of every sensor and schedule together; each alone is in `probes`
    emissions_ratio      of a run that materializes `emissions`; all sizes have the same rounds in their lookback
    page_query_s         the slowest answer to what the asset and partition pages of Dagster's UI
                         ask, as a browser sent it (`benchmarks/pages.json`)
    idle_cores           processor time that daemon and code server take while nothing is to be done
    kb_per_challenge     what lies on the disk without vectors, over the challenges, at the largest size
    kb_per_challenge_live  the same where as many are shown as may be, each with a run and a picture
    vector_kb_per_challenge  of vectors, over the challenges that have any
    retention            what the product's own retention still found to remove: little, or the history is none

Histories are as real ones but for this: there are no runs of `read_receipts` and of retention; vectors are written of
the last `vectors_days` days only, as those of all would fill the disk; what is said of the originals of parts is not
theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks import history_runs
from benchmarks.figures import show
from benchmarks.history import Template, draw_pictures, generate
from benchmarks.past import Past
from benchmarks.usage import cpu_by_service, service_of
from benchmarks.validator import (
    STANDSTILL_S,
    NotMeasured,
    Post,
    Subnet,
    Validator,
    running_subnet,
    say,
    validator_on,
)
from loosh_pipeline.errors import LooshError
from loosh_pipeline.local import local_settings
from loosh_pipeline.orchestrator import PARTITION_TAG, WEIGHTS_JOB, DagsterApi
from loosh_pipeline.processes import processes_of
from loosh_pipeline.services import environment, write_instance

MINERS = 7
DELAY_S = 0.05
OF_A_RUN = ("ingress", "worker", "upkeep", "dagster-webserver")
ALWAYS_ON = ("dagster-daemon", "code-server")
UPKEEP_JOBS = (WEIGHTS_JOB, "refresh_context", "refresh_network_view", "refresh_availability")
PAGES = Path(__file__).with_name("pages.json")
LOOK_S = 0.1
KB = 1000.0
LITTLE = 0.02
"""Of what Dagster shows: minutes pass between what is made and retention."""


@dataclass(frozen=True, slots=True)
class Plan:
    sizes: tuple[int, ...]
    live: bool
    """Whether there is one of which Dagster shows as many challenges as it may."""
    per_day: float
    rounds: int
    """Of which the template is made."""
    warm_up: int
    """Challenges before the first that counts: the first of each worker process costs four times as much."""
    challenges: int
    """Posted to each validator, one at a time."""
    ticks: int
    emissions: int
    idle_s: float
    vectors_days: float
    quick: bool


@dataclass(frozen=True, slots=True)
class Grown:
    """A home that is made. `changes`: of its settings; `live`: challenges that Dagster shows."""

    home: Path
    past: Past
    kept: history_runs.Kept
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def live(self) -> int:
        return self.past.challenges - self.kept.first(self.past)


def planned(plan: Plan, root: Path, now: datetime) -> list[Grown]:
    """The homes, the smallest first."""
    kept = history_runs.Kept.by_settings()
    found = [Grown(root / str(size), Past(size, plan.per_day, now), kept, {}) for size in plan.sizes]
    largest, days = found[-1], float(math.ceil(kept.challenges / plan.per_day) + 1)
    if plan.live and days > kept.days:
        all_live = replace(kept, days=days)
        found.append(Grown(root / f"{plan.sizes[-1]}-live", largest.past, all_live, {"retain_days": days}))
    return found


def measure(plan: Plan) -> dict[str, Any]:
    """The figures. Raises LooshError with the ends of the logs when something does not come up or happen."""
    with (
        tempfile.TemporaryDirectory(prefix="loosh-growth-") as folder,
        running_subnet(Path(folder), MINERS, DELAY_S) as subnet,
    ):
        root = Path(folder)
        template = make_template(subnet, root / "template", plan.rounds)
        homes = planned(plan, root, datetime.now(UTC))
        made_s = {each.name: _generated(template, each, plan) for each in homes}
        probes = {each.name: _probed(subnet, each, plan) for each in homes}
        sizes = {each.name: sizes_of(each.home) for each in homes}
        runs, pages = _run(subnet, homes, plan)
        largest = [each.name for each in homes if each.past.challenges == plan.sizes[-1]]
        return {
            **_ratios(homes[0].name, largest, probes, runs),
            "page_query_s": max(each["wall_s"] for name in largest for each in pages[name].values()),
            **_per_challenge(plan, [sizes[name] for name in largest]),
            "retention": {name: found.pop("retention") for name, found in probes.items()},
            "live_challenges": {each.name: each.live for each in homes},
            "quick": plan.quick,
            **{name: value for name, value in asdict(plan).items() if name not in ("quick", "live")},
            "runs": runs,
            "probes": probes,
            "pages": pages,
            "disk_mb": sizes,
            "made_s": made_s,
            "cores": os.cpu_count(),
            **subnet.load.figures(),
        }


def make_template(subnet: Subnet, home: Path, rounds: int) -> Template:
    """Let a validator evaluate some challenges and set weights, and stop it."""
    with validator_on(subnet, home, max_concurrent_runs=4) as validator:
        asyncio.run(_posted(validator, rounds))
        validator.drained()
        validator.at_rest()
        with closing(DagsterApi.at(f"http://127.0.0.1:{validator.settings.dagster_port}")) as api:
            launched = [api.launch(job, {}) for job in UPKEEP_JOBS]
            over = ("SUCCESS", "FAILURE", "CANCELED")
            validator.until(
                "snapshots and weights", lambda: all(api.run_status(run) in over for run in launched), STANDSTILL_S
            )
            if failed := [run for run in launched if api.run_status(run) != "SUCCESS"]:
                raise NotMeasured(f"runs {failed} did not succeed\n{validator.report()}")
    return Template.of(home)


async def _posted(validator: Validator, count: int) -> list[Post]:
    async with validator.client() as http:
        return [await validator.post(http) for _ in range(count)]


def _generated(template: Template, grown: Grown, plan: Plan) -> float:
    """Make a history; how long that took."""
    began_s = time.monotonic()
    generate(template, grown.home, grown.past, vectors_days=plan.vectors_days)
    history_runs.generate(template, grown.home, grown.past, grown.kept)
    draw_pictures(template, grown.home, grown.past, grown.kept.first(grown.past))
    took_s = round(time.monotonic() - began_s, 1)
    say(f"{grown.name}: made in {took_s} s, {grown.live} challenges of it live")
    return took_s


def _probed(subnet: Subnet, grown: Grown, plan: Plan) -> dict[str, Any]:
    """Retention, ticks and emissions on a home whose validator does not run."""
    home = grown.home
    settings = local_settings(subnet.devnet, home, **grown.changes)
    write_instance(home / "dagster_home", settings)
    command = [sys.executable, "-m", "benchmarks.growth_probe", "--ticks", str(plan.ticks)]
    command += ["--emissions", str(plan.emissions)]
    env = {**os.environ, **environment(settings, home / "dagster_home"), "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"retention, ticks and emissions of {home.name}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["tick_cpu_ms"] = round(sum(each["cpu_ms"] for each in found["ticks"].values()), 2)
    _is_little(grown, found["retention"])
    say(f"{home.name}: {found['tick_cpu_ms']} ms for all ticks, {found['emissions_cpu_s']} s for emissions")
    subnet.load.note()
    return found


def _is_little(grown: Grown, removed: Mapping[str, float]) -> None:
    """Raises NotMeasured when retention still had much to do: then the history is not what it leaves."""
    say(f"{grown.name}: retention removed {removed}")
    if removed["challenges"] > LITTLE * grown.live or removed["runs"] > LITTLE * removed["kept_runs"]:
        raise NotMeasured(f"retention removed {dict(removed)} of {grown.name}, which was to be pruned already")


def _run(subnet: Subnet, homes: Sequence[Grown], plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """All validators side by side: what a challenge takes of each, what each takes at rest, and its pages."""
    with ExitStack() as stack:
        validators = dict[str, Validator]()
        for grown in homes:
            of_its_own = validator_on(subnet, grown.home, f"after-{grown.name}", max_concurrent_runs=2, **grown.changes)
            validators[grown.name] = stack.enter_context(of_its_own)
        for each in validators.values():
            asyncio.run(_posted(each, plan.warm_up))
            each.drained()
        for each in validators.values():
            each.at_rest()
        spent: dict[str, list[dict[str, float]]] = {name: [] for name in validators}
        for _ in range(plan.challenges):
            for name, validator in validators.items():
                spent[name].append(one_challenge(validator))
        idle = _idle(list(validators.values()), plan.idle_s)
        pages = {name: page_queries(validator) for name, validator in validators.items()}
        runs = {
            name: {figure: round(statistics.median(each[figure] for each in those), 4) for figure in those[0]}
            | {"idle_cores": idle[place]}
            for place, (name, those) in enumerate(spent.items())
        }
    return runs, pages


def one_challenge(validator: Validator) -> dict[str, float]:
    """Post one, wait until its run is over, and say what it took. Raises NotMeasured when it is not."""
    before, began_s = used(validator), time.monotonic()
    post = asyncio.run(_posted(validator, 1))[0]
    validator.until(f"the run of {post.id}", lambda: _is_over(validator, post), STANDSTILL_S)
    wall_s, after = time.monotonic() - began_s, used(validator)
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    return {
        "cpu_s": sum(spent.get(name, 0.0) for name in OF_A_RUN),
        "embedding_cpu_s": spent.get("embedder", 0.0),
        "wall_s": wall_s,
        **{f"{name}_cpu_s": spent.get(name, 0.0) for name in (*OF_A_RUN, *ALWAYS_ON)},
    }


def used(validator: Validator) -> Mapping[str, float]:
    """Processor seconds so far, by service."""
    return cpu_by_service(service_of(processes_of(validator.settings.home), validator.ours.pids()))


def _is_over(validator: Validator, post: Post) -> bool:
    query = "SELECT status FROM runs JOIN run_tags USING (run_id) WHERE key = ? AND value = ?"
    runs = validator.settings.home / "dagster_home" / "history" / "runs.db"
    with closing(sqlite3.connect(f"{runs.as_uri()}?mode=ro", uri=True)) as connection:
        found = [status for (status,) in connection.execute(query, (PARTITION_TAG, post.id))]
    if "FAILURE" in found:
        raise NotMeasured(f"the run of {post.id} failed\n{validator.report()}")
    return "SUCCESS" in found


def _idle(validators: Sequence[Validator], for_s: float) -> list[float]:
    """Cores that what is always on takes of each, while nothing is to be done."""
    before = [used(each) for each in validators]
    began_s = time.monotonic()
    while time.monotonic() - began_s < for_s:
        for each in validators:
            each.check()
        time.sleep(1.0)
    took_s = time.monotonic() - began_s
    after = [used(each) for each in validators]
    return [
        round(sum(now[name] - then[name] for name in ALWAYS_ON) / took_s, 4)
        for then, now in zip(before, after, strict=True)
    ]


def page_queries(validator: Validator) -> dict[str, Any]:
    """What Dagster answers to each query of its pages: seconds of the first and the faster of two more, and bytes."""
    newest = validator.posts[-1].id
    url = f"http://127.0.0.1:{validator.settings.dagster_port}/graphql"
    found: dict[str, Any] = {}
    with httpx.Client(timeout=300.0, trust_env=False) as http:
        for name, body in json.loads(PAGES.read_text()).items():
            asked = json.loads(json.dumps(body).replace("{PARTITION}", newest))
            first_s, size = _answered(http, url, asked)
            again_s = min(_answered(http, url, asked)[0] for _ in range(2))
            found[name] = {"wall_s": round(max(first_s, again_s), 3), "again_s": round(again_s, 3), "kb": size / KB}
    return found


def _answered(http: httpx.Client, url: str, body: Mapping[str, Any]) -> tuple[float, int]:
    began_s = time.monotonic()
    answer = http.post(url, json=body)
    took_s = time.monotonic() - began_s
    if answer.status_code != httpx.codes.OK or answer.json().get("errors"):
        raise NotMeasured(f"Dagster did not answer {body.get('operationName')}: {answer.text[:500]}")
    return took_s, len(answer.content)


def sizes_of(home: Path) -> dict[str, float]:
    """Megabytes on the disk by part."""
    parts: dict[str, Callable[[str], bool]] = {
        "vectors": lambda path: path.startswith("tables/embeddings/"),
        "tables": lambda path: path.startswith("tables/"),
        "inbox": lambda path: path.startswith("validator.db"),
        "dagster": lambda path: path.startswith("dagster_home/"),
        "pictures": lambda path: path.startswith("heatmaps/"),
        "other": lambda _: True,
    }
    sizes = dict.fromkeys(parts, 0)
    for path in home.rglob("*"):
        if path.is_file():
            name = next(each for each, holds in parts.items() if holds(str(path.relative_to(home))))
            sizes[name] += path.stat().st_blocks * 512
    return {name: round(size / 1e6, 1) for name, size in sizes.items()}


def _ratios(few: str, largest: Sequence[str], probes: Mapping[str, Any], runs: Mapping[str, Any]) -> dict[str, float]:
    figures = {
        "run_cpu_ratio": (runs, "cpu_s"),
        "tick_cpu_ratio": (probes, "tick_cpu_ms"),
        "emissions_ratio": (probes, "emissions_cpu_s"),
        "idle_ratio": (runs, "idle_cores"),
    }
    return {
        ratio: round(max(found[many][name] for many in largest) / found[few][name], 3)
        for ratio, (found, name) in figures.items()
    }


def _per_challenge(plan: Plan, sizes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the largest homes: the one that is as settings have it, and the one of which all that may be is live."""
    many = plan.sizes[-1]
    with_vectors = min(many, plan.vectors_days * plan.per_day)
    without = [
        round(1000.0 * sum(size for name, size in each.items() if name != "vectors") / many, 1) for each in sizes
    ]
    return {
        "kb_per_challenge": without[0],
        "kb_per_challenge_live": without[-1],
        "vector_kb_per_challenge": round(1000.0 * sizes[0]["vectors"] / with_vectors, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="challenges of the past, the fewest first")
    parser.add_argument(
        "--per-day", type=float, default=274.0, help="challenges a day in it; 24000: as dense as can be"
    )
    parser.add_argument("--vectors-days", type=float, default=10.0, help="vectors are written of the last days only")
    parser.add_argument("--challenges", type=int, default=15, help="posted to each validator")
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 as settings have it, few of everything")
    parser.add_argument("--json", action="store_true", help="one object as the last line")
    chosen = parser.parse_args()
    sizes = tuple(int(each) for each in chosen.sizes.split(","))
    plan = Plan(sizes, True, chosen.per_day, 12, 12, chosen.challenges, 25, 7, 60.0, chosen.vectors_days, quick=False)
    if chosen.quick:
        plan = Plan((1000, 10_000), False, chosen.per_day, 3, 3, 4, 4, 2, 5.0, 1.0, quick=True)
    try:
        figures = measure(plan)
    except LooshError as error:
        say(f"not measured: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    show(figures, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

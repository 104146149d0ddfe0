"""Whether a validator's next challenge costs what its first did: `python -m benchmarks.growth [--quick] [--json]`.

A devnet of 7 miners runs all the time, and a first validator evaluates some rounds on it with which everything is real;
of these, homes are made as validators leave them after 1,000, 10,000 and 100,000 challenges (`benchmarks.history`), 274
a day or as many as `--per-day`, compacted and pruned as the settings say. On each, ticks and emissions are taken in a
process of their own; then the validators of all sizes run side by side, and challenges are posted to one after the
other, so that whatever else the machine does counts for all alike.

    run_cpu_ratio        of a challenge's run, from the POST until its narrative is there: ingress, workers and the web
                         server of Dagster, which launches it; the largest size over the smallest, by medians. Not the
                         embedder, whose share is the same for all and far larger (`runs.*.embedding_cpu_s`)
    tick_cpu_ratio       of one tick of every sensor and schedule together; each alone is in `probes`
    emissions_ratio      of a run that materializes `emissions`; all sizes have the same rounds in their lookback
    page_query_s         the slowest answer, at the largest size, to what the asset and partition pages of Dagster's UI
                         ask, as a browser sent it (`benchmarks/pages.json`)
    idle_cores           processor time that daemon and code server take while nothing is to be done
    kb_per_challenge     what lies on the disk without vectors, over the challenges, at the largest size
    vector_kb_per_challenge  the same of vectors, over the challenges that have any

Histories are as real ones but for this: there are no pictures (130 KB a challenge that Dagster shows), so
`kb_per_challenge` is too small by them; there are no runs of `read_receipts` and of retention; vectors are written of
the last `vectors_days` days only, as those of all would fill the disk; digests of originals in parts are those of the
template's files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks import history_runs
from benchmarks.figures import show
from benchmarks.history import Past, Template, generate
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


@dataclass(frozen=True, slots=True)
class Plan:
    sizes: tuple[int, ...]
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


def measure(plan: Plan) -> dict[str, Any]:
    """The figures. Raises LooshError with the ends of the logs when something does not come up or happen."""
    with (
        tempfile.TemporaryDirectory(prefix="loosh-growth-") as folder,
        running_subnet(Path(folder), MINERS, DELAY_S) as subnet,
    ):
        root = Path(folder)
        template = make_template(subnet, root / "template", plan.rounds)
        homes = {size: root / f"{size:06d}" for size in plan.sizes}
        made_s = {size: _generated(template, home, size, plan) for size, home in homes.items()}
        sizes = {size: sizes_of(home) for size, home in homes.items()}
        probes = {size: _probed(subnet, home, plan) for size, home in homes.items()}
        runs, pages = _run(subnet, homes, plan)
        return {
            **_ratios(plan, probes, runs),
            "page_query_s": max(each["wall_s"] for each in pages[plan.sizes[-1]].values()),
            **_per_challenge(plan, sizes),
            "quick": plan.quick,
            **{name: value for name, value in asdict(plan).items() if name != "quick"},
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


def _generated(template: Template, home: Path, size: int, plan: Plan) -> float:
    """Make a history; how long that took."""
    began_s, past = time.monotonic(), Past(size, plan.per_day, datetime.now(UTC))
    generate(template, home, past, vectors_days=plan.vectors_days)
    history_runs.generate(template, home, past, history_runs.Kept.by_settings())
    took_s = round(time.monotonic() - began_s, 1)
    say(f"{size} challenges of the past are made in {took_s} s")
    return took_s


def _probed(subnet: Subnet, home: Path, plan: Plan) -> dict[str, Any]:
    """Ticks and emissions on a home whose validator does not run."""
    settings = local_settings(subnet.devnet, home)
    write_instance(home / "dagster_home", settings)
    command = [sys.executable, "-m", "benchmarks.growth_probe", "--ticks", str(plan.ticks)]
    command += ["--emissions", str(plan.emissions)]
    env = {**os.environ, **environment(settings, home / "dagster_home"), "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"ticks and emissions of {home.name}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["tick_cpu_ms"] = round(sum(each["cpu_ms"] for each in found["ticks"].values()), 2)
    say(f"{home.name}: {found['tick_cpu_ms']} ms for all ticks, {found['emissions_cpu_s']} s for emissions")
    subnet.load.note()
    return found


def _run(subnet: Subnet, homes: Mapping[int, Path], plan: Plan) -> tuple[dict[int, Any], dict[int, Any]]:
    """All validators side by side: what a challenge takes of each, what each takes at rest, and its pages."""
    with ExitStack() as stack:
        validators = dict[int, Validator]()
        for size, home in homes.items():
            validators[size] = stack.enter_context(validator_on(subnet, home, f"after-{size}", max_concurrent_runs=2))
        for each in validators.values():
            asyncio.run(_posted(each, plan.warm_up))
            each.drained()
        for each in validators.values():
            each.at_rest()
        spent: dict[int, list[dict[str, float]]] = {size: [] for size in homes}
        for _ in range(plan.challenges):
            for size, validator in validators.items():
                spent[size].append(one_challenge(validator))
        idle = _idle(list(validators.values()), plan.idle_s)
        pages = {size: page_queries(validator) for size, validator in validators.items()}
        runs = {
            size: {name: round(statistics.median(each[name] for each in those), 4) for name in those[0]}
            | {"idle_cores": idle[place]}
            for place, (size, those) in enumerate(spent.items())
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


def _ratios(plan: Plan, probes: Mapping[int, Any], runs: Mapping[int, Any]) -> dict[str, float]:
    few, many = plan.sizes[0], plan.sizes[-1]
    return {
        "run_cpu_ratio": round(runs[many]["cpu_s"] / runs[few]["cpu_s"], 3),
        "tick_cpu_ratio": round(probes[many]["tick_cpu_ms"] / probes[few]["tick_cpu_ms"], 3),
        "emissions_ratio": round(probes[many]["emissions_cpu_s"] / probes[few]["emissions_cpu_s"], 3),
        "idle_ratio": round(runs[many]["idle_cores"] / runs[few]["idle_cores"], 3),
    }


def _per_challenge(plan: Plan, sizes: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    many = plan.sizes[-1]
    with_vectors = min(many, plan.vectors_days * plan.per_day)
    without = sum(size for name, size in sizes[many].items() if name != "vectors")
    return {
        "kb_per_challenge": round(1000.0 * without / many, 1),
        "vector_kb_per_challenge": round(1000.0 * sizes[many]["vectors"] / with_vectors, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="challenges of the past, the fewest first")
    parser.add_argument(
        "--per-day", type=float, default=274.0, help="challenges a day in it; 24000: as dense as can be"
    )
    parser.add_argument("--vectors-days", type=float, default=10.0, help="vectors are written of the last days only")
    parser.add_argument("--challenges", type=int, default=15, help="posted to each validator")
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000, few of everything")
    parser.add_argument("--json", action="store_true", help="one object as the last line")
    chosen = parser.parse_args()
    sizes = tuple(int(each) for each in chosen.sizes.split(","))
    plan = Plan(sizes, chosen.per_day, 12, 12, chosen.challenges, 25, 7, 60.0, chosen.vectors_days, quick=False)
    if chosen.quick:
        plan = Plan((1000, 10_000), chosen.per_day, 6, 8, 5, 7, 3, 15.0, 2.0, quick=True)
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

"""How many challenges a whole validator evaluates, and what each costs: `python -m benchmarks.throughput [--miners 10]
[--quick] [--json]`.

A real validator (all its processes, real embeddings, real sockets) on a devnet whose miners answer at once with some
200 words of their own, no text twice (`benchmarks.validator` says how both are run). After a warm-up, 300 challenges
are posted as fast as the ingress takes them, so that from then on the inbox is never empty, and everything is measured
in the middle: from the moment a tenth of them is delivered until nine tenths are. This is repeated `--runs` times, and
each figure is the median of the runs; memory is the most in all of them.

    challenges_per_hour  delivered in the middle, by the Challenge API's clock
    whole_per_hour       all of them, from the first POST to the last batch, with beginning and end
    cpu_s                processor seconds a challenge in the middle, over all processes of the validator:
                         `embedding` the embedder, and in runs what splits, sends and receives texts; `scoring`;
                         `storage` tables, inbox and outbox, as far as runs read and write them; `wire` asking miners
                         and telling the Challenge API; `presentation` heatmaps and narratives; `orchestration` all
                         the rest: ingress, Dagster's web server, daemon and code server, Celery, Dagster's part of
                         runs
    cpu_by_process_s     the same seconds by service
    orchestration_share  of the sum of cpu_s
    peak_rss_mb          most memory of all processes together, shared pages counted for each; peak_pss_mb: only once
    lost                 challenges that were accepted and whose batch the Challenge API never had
    scored_twice         challenges with more than one score row a hotkey and scorer version, or told more than once
    attempts_beyond_one  runs that had to be repeated
    backlog_stable       without `--quick`: challenges posted evenly at the target rate, or `--paced`, for three minutes
                         after that do not pile up: no more of them are accepted and not delivered in the last quarter
                         of that time, on average, than in the second, but for two; `paced` has these averages

How much processor time runs spend on what is counted by `benchmarks.accounting`, without a line for it in the product.
The benchmark and the devnet take time of the same machine: `devnet_cpu_s` and `benchmark_cpu_s`, a challenge.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import polars as pl

from benchmarks import accounting
from benchmarks.figures import median_of_runs, show
from benchmarks.usage import Peak, cpu_by_service, service_of
from benchmarks.validator import NotMeasured, Post, Validator, answers_of, running_validator, say, settings_of
from loosh_pipeline.errors import LooshError
from loosh_pipeline.processes import processes_of
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.tables import Tables

DELAY_S = 0.05
MIDDLE = (0.1, 0.9)
SAMPLE_EVERY_S = 2.0
PSS_EVERY = 8
"""Samples between two looks at PSS, each of which takes the kernel a tenth of a second."""
POSTS_AT_ONCE = 8
PACED_S = 180.0
ALLOWED = 2.0
"""Challenges by which a backlog may be larger at the end and still be called stable."""
STANDSTILL_S = 180.0
ROW = dict.fromkeys(("challenge_id", "hotkey", "scorer_version"), pl.String)
SERVERS = ("ingress", "embedder", "dagster-webserver", "dagster-daemon")
"""Services that execute no runs: what their main threads do with inbox and tables is not a run's storage."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at one moment; seconds since the processes started."""

    at_s: float
    delivered: int
    services_s: Mapping[str, float]
    runs_s: Mapping[str, float]
    devnet_s: float
    own_s: float


@dataclass(slots=True)
class Watch:
    """Looks at the validator from time to time."""

    validator: Validator
    already: int
    """Delivered before what is watched began."""
    peak: Peak
    samples: list[Sample] = field(default_factory=list)
    _servers: set[int] = field(default_factory=set)

    def look(self) -> Sample:
        processes = list(processes_of(self.validator.settings.home))
        services = service_of(processes, self.validator.ours.pids())
        self._servers |= {pid for pid, service in services.items() if service in SERVERS}
        self.peak.note_rss(services)
        if len(self.samples) % PSS_EVERY == 0:
            self.peak.note_pss(services)
        self.validator.load.note()
        sample = Sample(
            at_s=time.time(),
            delivered=self.validator.submitted() - self.already,
            services_s=cpu_by_service(services),
            runs_s=self._runs_s(),
            devnet_s=self.validator.devnet_cpu_s(),
            own_s=time.process_time(),
        )
        self.samples.append(sample)
        return sample

    def _runs_s(self) -> Counter[str]:
        """What all runs so far have spent on each kind."""
        sums: Counter[str] = Counter()
        for pid, seconds in accounting.seconds_of(self.validator.counters).items():
            if pid not in self._servers:
                sums.update(seconds)
        return sums


def middle_of(samples: Sequence[Sample], total: int) -> tuple[Sample, Sample]:
    """The first sample with a tenth delivered, the last with nine tenths at most. Raises NotMeasured."""
    first, last = (share * total for share in MIDDLE)
    inside = [sample for sample in samples if first <= sample.delivered <= last]
    if len(inside) < 2 or inside[0].delivered == inside[-1].delivered:
        raise NotMeasured(f"{total} challenges were over before they could be looked at; measure more of them")
    return inside[0], inside[-1]


def per_hour(delivered_s: Sequence[float]) -> float:
    """Challenges an hour in the middle, by the times at which they were delivered."""
    times = sorted(delivered_s)
    first, last = (round(share * (len(times) - 1)) for share in MIDDLE)
    return 3600.0 * (last - first) / (times[last] - times[first])


def split_cpu(first: Sample, last: Sample) -> dict[str, float]:
    """Seconds a challenge by what they were spent on; their sum is all that the validator's processes spent."""
    count = last.delivered - first.delivered
    services = {name: seconds - first.services_s.get(name, 0.0) for name, seconds in last.services_s.items()}
    runs = {kind: last.runs_s[kind] - first.runs_s.get(kind, 0.0) for kind in accounting.KINDS}
    kinds = {**runs, "embedding": runs["embedding"] + services.get("embedder", 0.0)}
    rest = sum(services.values()) - sum(kinds.values())
    return {name: round(seconds / count, 4) for name, seconds in {"orchestration": rest, **kinds}.items()}


def by_service(first: Sample, last: Sample) -> dict[str, float]:
    """Seconds a challenge by service."""
    count = last.delivered - first.delivered
    spent = {name: seconds - first.services_s.get(name, 0.0) for name, seconds in last.services_s.items()}
    return {name: round(seconds / count, 4) for name, seconds in sorted(spent.items(), key=lambda each: -each[1])}


def repeated_scores(scores: pl.DataFrame) -> set[str]:
    """Challenges that have a hotkey with more than one row under one scorer version."""
    rows = scores.group_by(*ROW).len().filter(pl.col("len") > 1)
    return set(rows["challenge_id"])


def quarters(backlogs: Sequence[int]) -> tuple[float, float]:
    """How many waited on average in the second and in the last quarter of a paced run. Raises NotMeasured."""
    quarter = len(backlogs) // 4
    if quarter == 0:
        raise NotMeasured(f"{len(backlogs)} looks at a backlog do not tell whether it grows")
    return statistics.mean(backlogs[quarter : 2 * quarter]), statistics.mean(backlogs[-quarter:])


async def _post_all(validator: Validator, count: int) -> list[Post]:
    """As fast as the ingress takes them."""
    numbers = iter(range(count))

    async def keep_posting(http: httpx.AsyncClient) -> list[Post]:
        return [await validator.post(http) for _ in numbers]

    async with validator.client() as http:
        posted = await asyncio.gather(*(keep_posting(http) for _ in range(POSTS_AT_ONCE)))
    return [post for posts in posted for post in posts]


def _drain(watch: Watch, total: int) -> None:
    """Look on until all are delivered, or until it is clear that some are lost. Raises NotMeasured when many are."""
    moved_s, before = time.monotonic(), -1
    while (delivered := watch.look().delivered) < total:
        if delivered != before:
            moved_s, before = time.monotonic(), delivered
        if time.monotonic() - moved_s > STANDSTILL_S:
            said = f"{delivered} of {total} delivered, none in {STANDSTILL_S:g} s\n{watch.validator.report()}"
            if delivered < MIDDLE[1] * total:
                raise NotMeasured(said)
            return say(said)
        watch.validator.check()
        time.sleep(SAMPLE_EVERY_S)


async def _paced(validator: Validator, rate_per_h: float, for_s: float) -> list[int]:
    """Post evenly for a while; returns how many waited or were under way, every second."""
    already = validator.submitted()
    backlogs: list[int] = []
    tasks: list[asyncio.Task[Post]] = []
    async with validator.client() as http:
        started_s, every_s = time.monotonic(), 3600.0 / rate_per_h
        while (now_s := time.monotonic() - started_s) < for_s:
            validator.check()
            validator.load.note()
            while len(tasks) * every_s <= now_s:
                tasks.append(asyncio.create_task(validator.post(http)))
            backlogs.append(len(tasks) - (validator.submitted() - already))
            await asyncio.sleep(1.0 - now_s % 1.0)
        await asyncio.gather(*tasks)
    return backlogs


def _paced_figures(validator: Validator, rate_per_h: float) -> dict[str, Any]:
    validator.at_rest()
    say(f"posting {rate_per_h:g} an hour for {PACED_S:g} s")
    backlogs = asyncio.run(_paced(validator, rate_per_h, PACED_S))
    validator.all_submitted(STANDSTILL_S + len(validator.posts))
    second, last = quarters(backlogs)
    stable = last <= second + ALLOWED
    paced = {"per_hour": rate_per_h, "second_quarter": round(second, 1), "last_quarter": round(last, 1)}
    return {"backlog_stable": stable, "paced": paced}


def _twice(validator: Validator) -> int:
    tables = Tables(validator.settings.tables_root)
    frames = [
        tables.read_files(SCORES, day, [file.name for file in tables.files(SCORES, day)], ROW)
        for day in tables.days(SCORES)
    ]
    return len(repeated_scores(pl.concat(frames)) | validator.told_twice())


@dataclass(frozen=True, slots=True)
class Plan:
    miners: int
    challenges: int
    runs: int
    warm_up: int
    paced_per_h: float | None
    quick: bool


def measure(plan: Plan) -> dict[str, Any]:
    """The figures. Raises LooshError with the ends of the logs when something does not come up or happen."""
    with running_validator(plan.miners, DELAY_S) as validator:
        say(f"warming up: {plan.warm_up} challenges")
        warm = asyncio.run(_post_all(validator, plan.warm_up))
        validator.all_submitted(STANDSTILL_S + 10.0 * len(warm))
        peak = Peak()
        runs = [_run(validator, plan.challenges, peak) for _ in range(plan.runs)]
        found = {**median_of_runs(runs, digits=4), **_memory(peak)}
        found |= {} if plan.paced_per_h is None else _paced_figures(validator, plan.paced_per_h)
        return found | {
            **_outcome(validator),
            "quick": plan.quick,
            "miners": plan.miners,
            "n": plan.challenges,
            "runs": plan.runs,
            "warm_up": plan.warm_up,
            "answer_after_s": DELAY_S,
            **settings_of(validator.settings),
            "cores": os.cpu_count(),
            **answers_of(validator.responses(validator.posts)),
            **validator.load.figures(),
        }


def _run(validator: Validator, challenges: int, peak: Peak) -> dict[str, Any]:
    """Post that many, look on, and say how fast they were and what each cost."""
    validator.at_rest()
    watch = Watch(validator, validator.submitted(), peak)
    watch.look()
    posts = asyncio.run(_post_all(validator, challenges))
    say(f"{challenges} challenges are accepted")
    _drain(watch, challenges)
    figures = {**_rates(validator, posts), **_costs(*middle_of(watch.samples, challenges))}
    say(", ".join(f"{name} {value}" for name, value in figures.items()))
    return figures


def _rates(validator: Validator, posts: Sequence[Post]) -> dict[str, Any]:
    delivered = validator.delivered()
    times = [delivered[post.id] for post in posts if post.id in delivered]
    whole_s = max(times) - min(post.posted_s for post in posts)
    return {"challenges_per_hour": round(per_hour(times)), "whole_per_hour": round(3600.0 * len(times) / whole_s)}


def _costs(first: Sample, last: Sample) -> dict[str, Any]:
    """What a challenge costs the validator, and what else took processor time meanwhile."""
    cpu = split_cpu(first, last)
    count = last.delivered - first.delivered
    return {
        "cpu_s": cpu,
        "orchestration_share": round(cpu["orchestration"] / sum(cpu.values()), 4),
        "cpu_by_process_s": by_service(first, last),
        "devnet_cpu_s": round((last.devnet_s - first.devnet_s) / count, 4),
        "benchmark_cpu_s": round((last.own_s - first.own_s) / count, 4),
        "measured_s": round(last.at_s - first.at_s, 1),
    }


def _memory(peak: Peak) -> dict[str, int]:
    return {"peak_rss_mb": round(peak.rss_mb), "peak_pss_mb": round(peak.pss_mb), "processes": peak.processes}


def _outcome(validator: Validator) -> dict[str, int]:
    """What went wrong, of all that was ever accepted."""
    ids = [post.id for post in validator.posts]
    return {
        "refused": sum(post.turned_away for post in validator.posts),
        "lost": len(set(ids) - set(validator.delivered())),
        "scored_twice": _twice(validator),
        "attempts_beyond_one": sum(validator.inbox.get(each).attempts - 1 for each in ids),
    }


def target_per_h(miners: int) -> float:
    """The rate that is to be held with so many miners a challenge: 2,500 with 10, 800 with 50, between them and beyond
    by the number of answers.
    """
    return {10: 2500.0, 50: 800.0}.get(miners, 25_000.0 / miners)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, default=10)
    parser.add_argument("--challenges", type=int, default=300, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=32, help="challenges before the first that counts")
    parser.add_argument("--paced", type=float, help="challenges an hour of the paced run; the target, if not given")
    parser.add_argument("--quick", action="store_true", help="one run of 40 challenges after 8, and no paced run")
    parser.add_argument("--json", action="store_true", help="one object as the last line")
    chosen = parser.parse_args()
    paced_per_h = chosen.paced or target_per_h(chosen.miners)
    plan = Plan(chosen.miners, chosen.challenges, chosen.runs, chosen.warm_up, paced_per_h, quick=False)
    if chosen.quick:
        plan = Plan(chosen.miners, 40, 1, 8, None, quick=True)
    try:
        figures = measure(plan)
    except LooshError as error:
        say(f"not measured: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    show(figures, chosen.json)
    complete = figures["lost"] == figures["scored_twice"] == 0 and figures["answered"] == figures["asked"]
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())

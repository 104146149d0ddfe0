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
    lost                 challenges that were accepted and whose batch the Challenge API never had: given up once none
                         was delivered for three minutes
    scored_twice         challenges of which Dagster's event log has more than one materialization of
                         `consensus_scores`, or with more than one score row a hotkey and scorer version, or told more
                         than once
    attempts_beyond_one  runs that had to be repeated
    backlog_stable       without `--quick`: challenges posted evenly at the target rate, or `--paced`, for five minutes
                         after that do not pile up: what is accepted and not delivered grows by less than 2 % of what is
                         posted (`paced.growth`: the slope of the line through its looks in the last three quarters of
                         that time, by least squares, over the rate)
    paced_cpu_s          as cpu_s, over the same three quarters; paced_orchestration_share: of their sum

`cpu_s` contains no intake: all POSTs of a run come before its middle. `paced_cpu_s` does, and what a validator spends
whether or not there is work weighs more in it, as fewer challenges share it.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import polars as pl

from benchmarks.figures import median_of_runs
from benchmarks.usage import Peak
from benchmarks.validator import (
    NotMeasured,
    Post,
    Validator,
    answers_of,
    concluded,
    running_validator,
    say,
    settings_of,
)
from benchmarks.watch import Sample, Watch, by_service, split_cpu
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.tables import Tables

DELAY_S = 0.05
MIDDLE = (0.1, 0.9)
SAMPLE_EVERY_S = 2.0
POSTS_AT_ONCE = 8
PACED_S = 300.0
STABLE = 0.02
"""The share of what is posted by which a backlog may grow and still be called stable."""
LOOKS = 10
ROW = dict.fromkeys(("challenge_id", "hotkey", "scorer_version"), pl.String)


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


def repeated_scores(scores: pl.DataFrame) -> set[str]:
    """Challenges that have a hotkey with more than one row under one scorer version."""
    rows = scores.group_by(*ROW).len().filter(pl.col("len") > 1)
    return set(rows["challenge_id"])


def growth(backlogs: Sequence[tuple[float, int]], per_hour: float) -> float:
    """By what share of what is posted a backlog grows: (seconds, waiting) since posting began.

    It is the slope of the line through the looks of the last three quarters, by least squares, over the rate of
    posting. Raises NotMeasured.
    """
    since_s = backlogs[-1][0] / 4 if backlogs else 0.0
    looks = [look for look in backlogs if look[0] >= since_s]
    if len(looks) < LOOKS:
        raise NotMeasured(f"{len(looks)} looks at a backlog do not tell whether it grows")
    times_s, waiting = zip(*looks, strict=True)
    return 3600.0 * statistics.linear_regression(times_s, waiting).slope / per_hour


async def _post_all(validator: Validator, count: int) -> list[Post]:
    """As fast as the ingress takes them."""
    numbers = iter(range(count))

    async def keep_posting(http: httpx.AsyncClient) -> list[Post]:
        return [await validator.post(http) for _ in numbers]

    async with validator.client() as http:
        posted = await asyncio.gather(*(keep_posting(http) for _ in range(POSTS_AT_ONCE)))
    return [post for posts in posted for post in posts]


async def _paced(watch: Watch, rate_per_h: float, for_s: float) -> list[tuple[float, int]]:
    """Post evenly for a while; returns how many waited or were under way, and when, every two seconds."""
    validator = watch.validator
    backlogs: list[tuple[float, int]] = []
    tasks: list[asyncio.Task[Post]] = []
    async with validator.client() as http:
        started_s, every_s = time.monotonic(), 3600.0 / rate_per_h
        look_s = 0.0
        while (now_s := time.monotonic() - started_s) < for_s:
            validator.check()
            while len(tasks) * every_s <= now_s:
                tasks.append(asyncio.create_task(validator.post(http)))
            if now_s >= look_s:
                backlogs.append((now_s, len(tasks) - watch.look().delivered))
                look_s += SAMPLE_EVERY_S
            await asyncio.sleep(max(0.0, min(look_s, len(tasks) * every_s) - (time.monotonic() - started_s)))
        await asyncio.gather(*tasks)
    return backlogs


def _paced_figures(validator: Validator, rate_per_h: float, peak: Peak) -> dict[str, Any]:
    """Whether the target rate can be held, and what a challenge costs then, its intake included."""
    validator.at_rest()
    say(f"posting {rate_per_h:g} an hour for {PACED_S:g} s")
    watch = Watch(validator, validator.submitted(), peak)
    backlogs = asyncio.run(_paced(watch, rate_per_h, PACED_S))
    validator.drained()
    grows = growth(backlogs, rate_per_h)
    cpu = split_cpu(*settled_of(watch.samples))
    return {
        "backlog_stable": grows < STABLE,
        "paced": {
            "per_hour": rate_per_h,
            "for_s": PACED_S,
            "backlog_mean": round(statistics.mean(waiting for _, waiting in backlogs), 1),
            "growth": round(grows, 4),
        },
        "paced_cpu_s": cpu,
        "paced_orchestration_share": _share(cpu),
    }


def settled_of(samples: Sequence[Sample]) -> tuple[Sample, Sample]:
    """The sample after a quarter of the time, and the last. Raises NotMeasured when nothing was delivered between."""
    since_s = samples[0].at_s + (samples[-1].at_s - samples[0].at_s) / 4
    first = next(sample for sample in samples if sample.at_s >= since_s)
    if first.delivered == samples[-1].delivered:
        raise NotMeasured(f"nothing was delivered in {samples[-1].at_s - first.at_s:.0f} s of even posting")
    return first, samples[-1]


def _share(cpu_s: Mapping[str, float]) -> float:
    """Of orchestration."""
    return round(cpu_s["orchestration"] / sum(cpu_s.values()), 4)


def _twice(validator: Validator) -> int:
    """Challenges that were scored more than once, though nothing went wrong, or told more than once.

    Raises NotMeasured when the event log does not know what was delivered.
    """
    tables = Tables(validator.settings.tables_root)
    frames = [
        tables.read_files(SCORES, day, [file.name for file in tables.files(SCORES, day)], ROW)
        for day in tables.days(SCORES)
    ]
    scorings = validator.scorings()
    if unknown := {post.id for post in validator.posts} - validator.lost() - scorings.keys():
        raise NotMeasured(f"Dagster's event log has no scores of {len(unknown)} challenges that were delivered")
    scored_again = {each for each, times in scorings.items() if times > 1}
    return len(scored_again | repeated_scores(pl.concat(frames)) | validator.told_twice())


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
        asyncio.run(_post_all(validator, plan.warm_up))
        validator.drained()
        peak = Peak()
        runs = [_run(validator, plan.challenges, peak) for _ in range(plan.runs)]
        paced = {} if plan.paced_per_h is None else _paced_figures(validator, plan.paced_per_h, peak)
        return {
            **median_of_runs(runs, digits=4),
            **_memory(peak),
            **paced,
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
    validator.drained(watch.look, SAMPLE_EVERY_S)
    middle = middle_of(watch.samples, challenges)
    figures = {**_rates(validator, posts), **_costs(*middle)}
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
        "orchestration_share": _share(cpu),
        "cpu_by_process_s": by_service(first, last),
        "devnet_cpu_s": round((last.devnet_s - first.devnet_s) / count, 4),
        "benchmark_cpu_s": round((last.own_s - first.own_s) / count, 4),
        "measured_s": round(last.at_s - first.at_s, 1),
    }


def _memory(peak: Peak) -> dict[str, int]:
    return {"peak_rss_mb": round(peak.rss_mb), "peak_pss_mb": round(peak.pss_mb), "processes": peak.processes}


def _outcome(validator: Validator) -> dict[str, int]:
    """What went wrong, of all that was ever accepted."""
    return {
        "refused": sum(post.turned_away for post in validator.posts),
        "lost": len(validator.lost()),
        "scored_twice": _twice(validator),
        "attempts_beyond_one": sum(max(validator.inbox.get(post.id).attempts - 1, 0) for post in validator.posts),
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
    return concluded(lambda: measure(plan), chosen.json)


if __name__ == "__main__":
    sys.exit(main())

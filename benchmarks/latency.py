"""How long a challenge takes through a whole validator: `python -m benchmarks.latency [--quick] [--json]`.

A real validator (all its processes, real embeddings, real sockets) on a devnet whose 10 miners each answer after 200 ms
with some 200 words of their own (`benchmarks.validator` says how both are run). After a warm-up, 100 challenges are
posted at one every 2 s, whether or not earlier ones are done; then 20 at once, several times, each time with nothing
left to do. Everything is repeated `--runs` times, and each figure is the median of the runs.

    dispatch_p50_s, _p95_s    from just before the POST is sent until the head of the encrypted challenge has come to
                              the first miner, by the miner's record; a handshake before it is part of that time, and
                              `handshakes` counts the miners that needed one
    scored_p50_s, _p95_s      until the scores lie in their table and the result in the outbox (`scored_at`)
    delivered_p50_s, _p95_s   until the Challenge API has decrypted, checked and taken the batch
    accepted_p50_s            until the 201 was read
    burst20_last_dispatch_s   from the first of 20 POSTs at once until the last of them has come to its first miner
    burst20_delivered_s       until the last of their batches was taken
    lost                      challenges that were accepted and given up, as none was delivered for three minutes; the
                              times are those of the others

The benchmark and the devnet take processor time of the same machine: `devnet_cpu_s` and `benchmark_cpu_s`, a challenge.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import median_of_runs, percentile
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

DELAY_S = 0.2
BURST = 20


@dataclass(frozen=True, slots=True)
class Plan:
    miners: int
    challenges: int
    every_s: float
    runs: int
    bursts: int
    """In each run."""
    warm_up: int
    quick: bool


@dataclass(frozen=True, slots=True)
class Way:
    """When one challenge was where; seconds of the clock."""

    posted_s: float
    accepted_s: float
    asked_s: float
    scored_s: float
    delivered_s: float


def paced_figures(ways: Sequence[Way]) -> dict[str, float]:
    """Of challenges posted one by one."""
    dispatch, scored, delivered, accepted = (
        [getattr(way, name) - way.posted_s for way in ways]
        for name in ("asked_s", "scored_s", "delivered_s", "accepted_s")
    )
    return {
        "dispatch_p50_s": statistics.median(dispatch),
        "dispatch_p95_s": percentile(dispatch, 0.95),
        "scored_p50_s": statistics.median(scored),
        "scored_p95_s": percentile(scored, 0.95),
        "delivered_p50_s": statistics.median(delivered),
        "delivered_p95_s": percentile(delivered, 0.95),
        "accepted_p50_s": statistics.median(accepted),
    }


def burst_figures(ways: Sequence[Way]) -> dict[str, float]:
    """Of challenges posted at once."""
    first_s = min(way.posted_s for way in ways)
    return {
        "burst20_last_dispatch_s": max(way.asked_s for way in ways) - first_s,
        "burst20_delivered_s": max(way.delivered_s for way in ways) - first_s,
    }


async def paced(validator: Validator, count: int, every_s: float) -> list[Post]:
    """Post one every so often."""
    async with validator.client() as http:
        tasks, started_s = [], time.monotonic()
        for number in range(count):
            while (wait_s := started_s + number * every_s - time.monotonic()) > 0:
                validator.check()
                validator.load.note()
                await asyncio.sleep(min(wait_s, 1.0))
            tasks.append(asyncio.create_task(validator.post(http)))
        return list(await asyncio.gather(*tasks))


def ways_of(validator: Validator, posts: Sequence[Post]) -> list[Way]:
    """Where those of these challenges were when that were delivered. Raises NotMeasured when none was."""
    asked, delivered = validator.asked(), validator.delivered()
    ways = []
    for post in posts:
        if post.id not in delivered:
            continue
        scored_at = validator.inbox.get(post.id).scored_at
        assert scored_at is not None, "what was submitted was scored"
        times = post.posted_s, post.answered_s, asked[post.prompt][0], scored_at.timestamp(), delivered[post.id]
        ways.append(Way(*times))
    if not ways:
        raise NotMeasured(f"none of {len(posts)} challenges was delivered")
    return ways


def _posted(validator: Validator, count: int, every_s: float) -> list[Post]:
    """Post that many, wait until all are delivered or given up, and until nothing is left to do."""
    posts = asyncio.run(paced(validator, count, every_s))
    validator.drained()
    validator.at_rest()
    return posts


def _run(validator: Validator, plan: Plan) -> tuple[dict[str, float], list[Post]]:
    """One run of everything: its figures, and what was posted."""
    posts = _posted(validator, plan.challenges, plan.every_s)
    figures, bursts = paced_figures(ways_of(validator, posts)), []
    for _ in range(plan.bursts):
        burst = _posted(validator, BURST, 0.0)
        bursts.append(burst_figures(ways_of(validator, burst)))
        posts += burst
    figures |= median_of_runs(bursts)
    say(", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    return figures, posts


def measure(plan: Plan) -> dict[str, Any]:
    """The figures. Raises LooshError with the ends of the logs when something does not come up or happen."""
    with running_validator(plan.miners, DELAY_S) as validator:
        say(f"warming up: {plan.warm_up} challenges at once")
        _posted(validator, plan.warm_up, 0.0)
        before = _cpu_s(validator)
        runs, posts = [], list[Post]()
        for _ in range(plan.runs):
            figures, posted = _run(validator, plan)
            runs.append(figures)
            posts += posted
        spent = {name: seconds - before[name] for name, seconds in _cpu_s(validator).items()}
        answers = answers_of(validator.responses(posts))
        return {
            **median_of_runs(runs),
            "quick": plan.quick,
            "miners": plan.miners,
            "n": plan.challenges,
            "every_s": plan.every_s,
            "runs": plan.runs,
            "bursts": plan.bursts,
            "warm_up": plan.warm_up,
            "answer_after_s": DELAY_S,
            **settings_of(validator.settings),
            **answers,
            "lost": len(validator.lost()),
            "refused": sum(post.turned_away for post in validator.posts),
            **{name: round(seconds / len(posts), 3) for name, seconds in spent.items()},
            "cores": os.cpu_count(),
            **validator.load.figures(),
        }


def _cpu_s(validator: Validator) -> dict[str, float]:
    """Seconds that were spent so far, and by whom."""
    return {
        "validator_cpu_s": validator.cpu_s(),
        "devnet_cpu_s": validator.devnet_cpu_s(),
        "benchmark_cpu_s": time.process_time(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miners", type=int, default=10)
    parser.add_argument("--challenges", type=int, default=100, help="of each run, without its bursts")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bursts", type=int, default=3, help="of 20, in each run")
    parser.add_argument("--warm-up", type=int, default=32, help="challenges before the first that counts")
    parser.add_argument("--quick", action="store_true", help="one run of 20 challenges and one burst")
    parser.add_argument("--json", action="store_true", help="one object as the last line")
    chosen = parser.parse_args()
    plan = Plan(chosen.miners, chosen.challenges, 2.0, chosen.runs, chosen.bursts, chosen.warm_up, quick=False)
    if chosen.quick:
        plan = Plan(chosen.miners, 20, 2.0, 1, 1, 8, quick=True)
    return concluded(lambda: measure(plan), chosen.json)


if __name__ == "__main__":
    sys.exit(main())

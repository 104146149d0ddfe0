"""What is measured in the middle of many challenges, how processor time is split, and what is lost or doubled."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from benchmarks.accounting import KINDS
from benchmarks.throughput import STABLE, growth, middle_of, per_hour, repeated_scores, settled_of, target_per_h
from benchmarks.validator import NotMeasured
from benchmarks.watch import Sample, by_service, split_cpu


def sample(delivered: int, services_s: dict[str, float], **runs_s: float) -> Sample:
    return Sample(float(delivered), delivered, services_s, Counter(dict.fromkeys(KINDS, 0.0) | runs_s), 0.0, 0.0)


def test_the_middle_is_between_a_tenth_and_nine_tenths() -> None:
    samples = [sample(count, {}) for count in (0, 9, 10, 10, 50, 90, 91, 100)]
    first, last = middle_of(samples, 100)
    assert first is samples[2]
    assert last is samples[5]


@pytest.mark.parametrize("counts", [(0, 100), (0, 50, 100), (0, 50, 50, 100)])
def test_what_is_over_at_once_cannot_be_measured(counts: tuple[int, ...]) -> None:
    with pytest.raises(NotMeasured, match="measure more"):
        middle_of([sample(count, {}) for count in counts], 100)


def test_the_rate_is_that_of_the_middle() -> None:
    slow_start = [100.0 - n for n in range(10)]  # out of order
    steady = [100.0 + 2.0 * n for n in range(81)]
    slow_end = [260.0 + 50.0 * n for n in range(1, 11)]
    assert per_hour(slow_end + slow_start + steady) == pytest.approx(1800.0)


def test_all_seconds_of_all_processes_are_split() -> None:
    first = sample(10, {"worker": 5.0, "embedder": 20.0}, storage=1.0)
    last = sample(20, {"worker": 15.0, "embedder": 28.0, "ingress": 1.0}, storage=3.0, embedding=1.0, scoring=0.5)
    split = split_cpu(first, last)
    assert split == {
        "orchestration": pytest.approx((10.0 - 3.5 + 1.0) / 10),
        "embedding": pytest.approx(0.9),
        "scoring": pytest.approx(0.05),
        "storage": pytest.approx(0.2),
        "wire": 0.0,
        "presentation": 0.0,
    }
    services = by_service(first, last)
    assert services == {"worker": 1.0, "embedder": 0.8, "ingress": 0.1}
    assert sum(split.values()) == pytest.approx(sum(services.values()))


def test_a_challenge_is_scored_twice_when_a_version_has_two_rows_of_a_miner() -> None:
    rows = [("c1", "m1", "v1"), ("c1", "m2", "v1"), ("c2", "m1", "v1"), ("c2", "m1", "v2"), ("c3", "m1", "v1")]
    columns = ["challenge_id", "hotkey", "scorer_version"]
    assert repeated_scores(pl.DataFrame(rows, schema=columns, orient="row")) == set()
    again = pl.DataFrame([*rows, rows[-1], rows[-1]], schema=columns, orient="row")
    assert repeated_scores(again) == {"c3"}


def test_a_backlog_that_only_swings_is_stable_and_one_that_grows_by_little_is_not() -> None:
    draw = random.Random(7)
    looks_s = [2.0 * look for look in range(150)]
    swinging = [(at_s, max(round(draw.gauss(4.0, 2.0)), 0)) for at_s in looks_s]
    assert abs(growth(swinging, 2500.0)) < STABLE
    held_up = [(at_s, waiting + (20 if at_s < 60.0 else 0)) for at_s, waiting in swinging]
    assert growth(held_up, 2500.0) == growth(swinging, 2500.0), "the beginning does not count"
    behind = [(at_s, round(waiting + 0.05 * at_s * 2500.0 / 3600.0)) for at_s, waiting in swinging]
    assert growth(behind, 2500.0) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("looks", [[], [(0.0, 1), (2.0, 1), (4.0, 2)]])
def test_few_looks_do_not_tell_whether_a_backlog_grows(looks: list[tuple[float, int]]) -> None:
    with pytest.raises(NotMeasured, match="looks at a backlog"):
        growth(looks, 2500.0)


def test_what_even_posting_costs_is_measured_after_its_first_quarter() -> None:
    samples = [sample(count, {}) for count in range(0, 101, 5)]
    assert settled_of(samples) == (samples[5], samples[-1])
    with pytest.raises(NotMeasured, match="nothing was delivered"):
        settled_of([replace(each, delivered=3) for each in samples])


def test_targets_by_the_number_of_miners() -> None:
    assert [target_per_h(miners) for miners in (10, 50, 20)] == [2500.0, 800.0, 1250.0]

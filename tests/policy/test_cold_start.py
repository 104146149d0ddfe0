"""The first hours of a validator: few rounds of many miners, and luck in the draw."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from loosh_pipeline.domain import Hotkey, Proposal
from loosh_pipeline.emissions import aggregate
from loosh_pipeline.payouts import PAID, paid_of
from loosh_pipeline.policy.checks import judged
from loosh_pipeline.policy.inputs import Inputs, LastVector
from loosh_pipeline.policy.propose import propose
from tests.builders import NOON
from tests.policy.cases import earned, inputs, miner, subnet

MINERS, ASKED, MIN_ROUNDS = 256, 7, 3
INTERVAL = timedelta(minutes=72)
NAMES = [f"m{i:03d}" for i in range(MINERS)]
THERE = subnet(*(miner(name, i) for i, name in enumerate(NAMES, 1)))


def rounds_of(count: int, an_hour: float, seed: int) -> pl.DataFrame:
    """So many rounds from noon on: miners differ, answers of one do too, and one in ten fails."""
    luck = np.random.default_rng(seed)
    skill = luck.lognormal(0.0, 0.5, MINERS)
    rows = [
        (f"c-{i:05d}", NAMES[who], NOON + timedelta(hours=i / an_hour), answered, answered, paid * answered)
        for i in range(count)
        for who in luck.choice(MINERS, ASKED, replace=False)
        for answered, paid in [(bool(luck.random() > 0.1), float(skill[who] * luck.lognormal(0.0, 0.5)))]
    ]
    return pl.DataFrame(rows, schema=PAID, orient="row")


def at(now: datetime, rounds: pl.DataFrame, last: LastVector | None) -> Inputs:
    so_far = rounds.filter(pl.col("received_at") <= now, pl.col("received_at") > now - timedelta(hours=24))
    found = aggregate(paid_of(so_far), {})
    what = earned({each.hotkey: each for each in found}, at=now, rounds=so_far["challenge_id"].n_unique())
    return replace(inputs({}, subnet=THERE, earned=what, last=last), at=now)


def replayed(an_hour: int, hours: float, seed: int = 0) -> tuple[list[Proposal], list[str]]:
    """What was set as the schedule would, and what blocked it."""
    rounds = rounds_of(int(an_hour * hours) + 1, an_hour, seed)
    now, last, was_set, blocked = NOON + timedelta(hours=(MIN_ROUNDS - 1) / an_hour), None, [], []
    while now <= NOON + timedelta(hours=hours):
        made_of = at(now, rounds, last)
        proposal = propose(made_of)
        wrong = [f"{now:%H:%M} {each.name}: {each.reason}" for each in judged(proposal, made_of) if each.blocks]
        if not wrong:
            was_set.append(proposal)
            last = LastVector(now, proposal.shares, proposal.rounds, proposal.basis)
        blocked += wrong
        now += INTERVAL
    return was_set, blocked


def paid(proposal: Proposal) -> dict[Hotkey, float]:
    return {hotkey: share for hotkey, share in proposal.shares.items() if share > 0}


@pytest.mark.parametrize("an_hour", [10, 60])
def test_the_first_hours_pay_many_and_freeze_nothing(an_hour: int) -> None:
    was_set, blocked = replayed(an_hour, 3.0)
    assert blocked == []
    assert len(was_set) == 3
    assert len(paid(was_set[0])) >= 12
    assert [len(paid(each)) for each in was_set] == sorted(len(paid(each)) for each in was_set)


def test_with_few_challenges_a_day_luck_in_the_draw_leaves_few_without_pay() -> None:
    """A hundred a day: a miner is asked 2.7 times, and most of those asked once or twice had nothing."""
    day = propose(at(NOON + timedelta(hours=24), rounds_of(101, 100 / 24, 1), None))
    assert len(paid(day)) > 0.7 * MINERS

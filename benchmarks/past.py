"""A past of evenly spaced challenges: when what was done in it, and tables of a template as those of another moment.

Tables of one setting of weights name each other as the product's do, so that pages and `loosh explain` find them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import numpy as np
import polars as pl

from benchmarks.variation import SMALLEST, common_figures
from loosh_pipeline.plain import at_said, said_at
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.canary_accuracy import CANARY_ACCURACY
from loosh_pipeline.store.history import OF_WEIGHTS as ALL_OF_WEIGHTS
from loosh_pipeline.store.seals import SEALS
from loosh_pipeline.store.tables import TableKey
from loosh_pipeline.store.weigh_records import PROPOSAL_INPUTS, RECORD

DAY = timedelta(days=1)
BLOCK_S = 12.0
SETTLED = "settled_scores"
OF_PROPOSALS = ("weight_proposals", "policy_acts", PROPOSAL_INPUTS)
OF_SUBMISSIONS = ("weights", "weights_dropped")
READ_BACK = "weight_receipts"
OF_EMISSIONS = tuple(sorted(ALL_OF_WEIGHTS - {*OF_PROPOSALS, *OF_SUBMISSIONS, READ_BACK, SEALS, CANARY_ACCURACY}))
OTHERS = ("accusations", "shadow_emissions", "shadow_diff")
OF_WEIGHTS = (*OF_EMISSIONS, *OTHERS, *OF_PROPOSALS, *OF_SUBMISSIONS, READ_BACK)
MADE_S = {**dict.fromkeys(OF_EMISSIONS, -2.0), **dict.fromkeys(OF_PROPOSALS, -1.0), READ_BACK: 60.0}
"""When tables of one setting of weights are made, against when it was submitted: one names the other, or is looked for
by time.
"""
NAME_TIME = "%Y%m%dT%H%M%S%f"
SAID_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
"""As records say times."""


@dataclass(frozen=True, slots=True)
class Past:
    """Challenges that came evenly, so many a day, the last one just before `until`."""

    challenges: int
    per_day: float
    until: datetime

    def id(self, number: int) -> str:
        """As long as an id of the template, in whose place it is written."""
        return f"archived-{number:06d}"

    def at(self, number: int) -> datetime:
        return self.until - DAY * (self.challenges - number) / self.per_day

    @property
    def began(self) -> datetime:
        return self.at(0)

    def first_since(self, since: datetime) -> int:
        """The number of the first challenge that came at a time or later."""
        return max(0, self.challenges - int(max(0.0, (self.until - since) / DAY * self.per_day)))

    def within(self, every: timedelta, day: datetime) -> Iterator[datetime]:
        """Those of `times` of one day."""
        after, first = self.until - (day + DAY), self.until - max(day, self.began)
        for number in range(int(first / every), max(0, math.ceil(after / every)) - 1, -1):
            at = self.until - every * number
            if number and max(day, self.began) <= at < day + DAY:
                yield at

    def place(self, every: timedelta, at: datetime) -> int:
        """Which one of all `times` that is, from 1 on."""
        return int((self.until - self.began) / every) + 1 - round((self.until - at) / every)

    def times(self, every: timedelta, since: datetime) -> Iterator[datetime]:
        """When what is done so often was done, from the later of the beginning and `since`, the oldest first."""
        count = int((self.until - max(self.began, since)) / every)
        yield from (self.until - every * number for number in range(count, 0, -1))


def every(settings: Settings) -> dict[str, timedelta]:
    """How often the product takes what is not of a challenge, by asset."""
    weights = timedelta(seconds=BLOCK_S * settings.weights_interval_blocks)
    return {
        "metagraph": timedelta(seconds=settings.metagraph_refresh_s),
        "miner_availability": timedelta(seconds=settings.availability_refresh_s),
        "network_view": timedelta(seconds=settings.network_view_refresh_s),
        "scoring_context": timedelta(hours=settings.context_refresh_h),
        **dict.fromkeys(OF_WEIGHTS, weights),
    }


def made_at(asset: str, at: datetime) -> datetime:
    """When the table of an asset is made that belongs to what happens at a time, on the same day."""
    first = datetime.combine(at.date(), time(), UTC)
    wanted = at + timedelta(seconds=MADE_S.get(asset, 0.0))
    return min(max(wanted, first), first + DAY - timedelta(seconds=1))


def of_epoch(frame: pl.DataFrame, epoch: int, earned: TableKey | None, at: datetime) -> pl.DataFrame:
    """A table with the number of its own epoch, and a record with the name of its own table of emissions, in place of
    `earned`, that of the template.
    """
    if "submission_id" in frame.columns:
        return frame.with_columns(submission_id=pl.lit(epoch, frame.schema["submission_id"]))
    if frame.columns != [*RECORD] or earned is None:
        return frame
    now = f"{made_at('emissions', at):{NAME_TIME}}-{earned.name.partition('-')[2]}"
    (said,) = frame.row(0)
    return pl.DataFrame(
        [(said.replace(f"{earned.day}/{earned.name}", f"{at.date()}/{now}"),)], schema=RECORD, orient="row"
    )


def settled(frame: pl.DataFrame, past: Past, at: datetime) -> pl.DataFrame:
    """A table of what was settled at a time: rows of all rounds of the lookback, each settling with figures anew."""
    since = at - timedelta(hours=get_settings().emissions_lookback_h)
    numbers = range(past.first_since(since), past.first_since(at))
    rounds = frame.with_row_index("row").partition_by("challenge_id", maintain_order=True)
    if not rounds or not numbers:
        return frame.clear()
    rows = [rounds[number % len(rounds)]["row"].to_numpy() for number in numbers]
    of = np.repeat(np.arange(len(numbers)), [len(each) for each in rows])
    about = {"challenge_id": [past.id(number) for number in numbers], "received_at": [past.at(n) for n in numbers]}
    named = [pl.Series(name, about[name], frame.schema[name])[of] for name in about if name in frame.columns]
    found, draw = frame[np.concatenate(rows)], np.random.default_rng(int(at.timestamp()))
    common = common_figures(rounds)
    return found.with_columns(
        *named,
        *(
            pl.when(pl.col(name).is_in(list(same)))
            .then(pl.col(name))
            .otherwise(pl.col(name) * pl.lit(pl.Series(draw.uniform(SMALLEST, 1.0, found.height))))
            .alias(name)
            for name, same in common.items()
        ),
    )


def moved(frame: pl.DataFrame, later: timedelta) -> pl.DataFrame:
    """The same rows so much later."""
    if frame.columns == [*RECORD]:
        (said,) = frame.row(0)
        at_that_time = SAID_TIME.sub(lambda found: said_at(at_said(found[0]) + later), said)
        return pl.DataFrame([(at_that_time,)], schema=RECORD, orient="row")
    return frame.with_columns(_later(frame, later))


def of_another(frame: pl.DataFrame, challenge_id: str, later: timedelta) -> pl.DataFrame:
    """The table of a round as that of another challenge, so much later."""
    named = [pl.lit(challenge_id, pl.String).alias("challenge_id")] if "challenge_id" in frame.columns else []
    return frame.with_columns(*_later(frame, later), *named)


def _later(frame: pl.DataFrame, later: timedelta) -> list[pl.Expr]:
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return [pl.col(name) + later for name in times]

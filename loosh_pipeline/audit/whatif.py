"""An epoch's weights as they would be with something otherwise, beside those that were set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import polars as pl

from loosh_pipeline.audit.changes import Changes
from loosh_pipeline.audit.recorded import RecordedEpoch, differences, given_of
from loosh_pipeline.audit.sampling import Advance, Interval, Spread, drawn, of_rounds, score_anew, spread
from loosh_pipeline.audit.stored_rows import EVIDENCE, measured_alike, rows_of, stored_scorer
from loosh_pipeline.audit.weighing_again import (
    Given,
    Weighed,
    earnings_again,
    earnings_over,
    evidenced,
    proposed,
    weighed,
    weighed_over,
)
from loosh_pipeline.audit.weight_diff import OtherAct, WeightDiff, flags_of, other_acts, weight_diff
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.emissions import since_of
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.paid import settles
from loosh_pipeline.paying import as_earned
from loosh_pipeline.scoring.profile import parameters_of
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import WindowRows
from loosh_pipeline.store.tables import Tables


class How(StrEnum):
    """From what a what-if was worked out."""

    STORED = "stored"
    """Exact: from the stored rows and pairs of all rounds."""
    RESCORED = "rescored"
    """Exact: all rounds were scored anew from their texts and vectors."""
    SAMPLED = "sampled"
    """From a sample of rounds that were scored anew, the weights as they are worked out on the same sample."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is scored where stored rows cannot say it: `sample` rounds drawn by `seed`, or all of them (`full`)."""

    sample: int
    seed: int = 0
    full: bool = False
    processes: int | None = None


@dataclass(frozen=True, eq=False)
class WhatIf:
    """What came of it. `differing`: in what the weights do not come out again with nothing changed; then those that
    did come out stand in their place.

    `rounds` of `of_rounds` were looked at; those of `unscorable` could not be scored. `spread`: of a sample. `had`: the
    epoch's weights, which `diff` starts from but for a sample.
    """

    epoch: int
    changes: Changes
    how: How
    differing: tuple[str, ...]
    rounds: int
    of_rounds: int
    had: Mapping[Hotkey, float]
    before: Weighed
    after: Weighed
    diff: WeightDiff
    acts: tuple[OtherAct, ...]
    effort: Effort
    spread: Spread | None = None
    unscorable: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return self.how is not How.SAMPLED

    def interval(self, hotkey: Hotkey) -> Interval | None:
        """Of a miner's change; None where it is exact."""
        return None if self.spread is None else self.spread.changes.get(hotkey, Interval(0.0, 0.0))


def what_if(
    tables: Tables, inbox: Inbox, epoch: RecordedEpoch, changes: Changes, effort: Effort, advance: Advance
) -> WhatIf:
    """Raises ConfigError for changes that do not fit the epoch, StoreError for what is not stored, ScoringError where
    no weights come of it.
    """
    profile = changes.profile_from(epoch.profile)
    stored = given_of(tables, epoch, _needed_since(epoch, changes, profile))
    _refuse_strangers(changes, stored)
    before = weighed(stored)
    about = _About(epoch, changes, effort, tuple(differences(epoch, before)))
    rows = _rows_under(tables, stored, changes, profile)
    if rows is None:
        return _scored(about, tables, inbox, stored, profile, advance)
    asked = changes.applied(replace(stored, rows=rows, profile=profile))
    after = weighed_over(asked, changes.lookbacks_h(asked.inputs, asked.terms))
    return about.exact(How.STORED, before, after)


def _needed_since(epoch: RecordedEpoch, changes: Changes, profile: ScoringProfile) -> datetime:
    """From when on rows are read: of the longest lookback that may be taken."""
    inputs = changes.inputs_from(epoch.inputs)
    hours = changes.lookbacks_h(inputs, changes.terms_from(epoch.terms, inputs))
    return since_of(profile, epoch.terms.made_at, max(epoch.terms.lookback_h, *hours))


def _refuse_strangers(changes: Changes, given: Given) -> None:
    there = {*given.rows.scores["hotkey"].unique(), *given.inputs.subnet.by_hotkey()}
    if strange := [hotkey for hotkey in changes.left_out if hotkey not in there]:
        raise ConfigError(f"--without {strange[0]}: no such hotkey was asked in the lookback, or is on the subnet")
    if given.inputs.own in changes.left_out:
        raise ConfigError(f"--without {given.inputs.own}: that is this validator itself")


def _rows_under(tables: Tables, given: Given, changes: Changes, profile: ScoringProfile) -> WindowRows | None:
    """The rows of all rounds as this profile measures them, where they are stored; None where they are not."""
    if not settles(profile) and changes.left_out:
        return None  # what the network's method says of an answer hangs on all others of the round
    if measured_alike(given.profile, profile):
        same = parameters_of(given.profile).get(EVIDENCE) == parameters_of(profile).get(EVIDENCE)
        return given.rows if same else evidenced(given.rows, profile)
    rounds = given.rows.scores["challenge_id"].unique()
    since = given.rows.scores["received_at"].min()
    if not isinstance(since, datetime):
        return given.rows
    found = rows_of(tables, stored_scorer(tables, profile, profile.name), since, given.terms.made_at)
    found = of_rounds(found, rounds.to_list())
    return found if found.scores["challenge_id"].n_unique() == len(rounds) else None


def _scored(
    about: _About,
    tables: Tables,
    inbox: Inbox,
    stored: Given,
    profile: ScoringProfile,
    advance: Advance,
) -> WhatIf:
    """By scoring rounds anew: all of them, or a sample."""
    effort, changes = about.effort, about.changes
    rounds = sorted(stored.rows.scores["challenge_id"].unique())
    chosen = rounds if effort.full else drawn(rounds, effort.sample, effort.seed)
    by_time = _by_time(stored.rows, chosen)
    found = score_anew(tables, inbox, by_time, profile, changes.left_out, advance, effort.processes)
    scored = found.rows.scores["challenge_id"].unique().to_list()
    before = replace(stored, rows=of_rounds(stored.rows, scored))
    after = changes.applied(replace(stored, rows=found.rows, profile=profile))
    why = tuple(f"{each.name}: {each.reason}" for each in found.unscorable)
    about = replace(about, rounds=len(scored), of_rounds=len(rounds), unscorable=why)
    hours = changes.lookbacks_h(after.inputs, after.terms)
    if len(scored) == len(rounds):
        return about.exact(How.RESCORED, weighed(before), weighed_over(after, hours))
    was, would = earnings_again(before), earnings_over(after, hours)
    old, new = (proposed(each.inputs, as_earned(of), each.subnet) for each, of in ((before, was), (after, would)))
    found_diff = weight_diff(old.weights, new.weights)
    return about.sampled(old, new, spread(before, was, after, would, found_diff, effort.seed))


def _by_time(rows: WindowRows, rounds: Sequence[str]) -> list[str]:
    """Rounds that came one after the other were given the same context, which is then read once."""
    times = rows.scores.select("challenge_id", "received_at").unique("challenge_id").sort("received_at", "challenge_id")
    return times.filter(pl.col("challenge_id").is_in(list(rounds)))["challenge_id"].to_list()


@dataclass(frozen=True, eq=False)
class _About:
    """What is known of a what-if before its weights."""

    epoch: RecordedEpoch
    changes: Changes
    effort: Effort
    differing: tuple[str, ...]
    rounds: int | None = None
    of_rounds: int | None = None
    unscorable: tuple[str, ...] = ()

    def exact(self, how: How, before: Weighed, after: Weighed) -> WhatIf:
        return self._made(how, before, after, None)

    def sampled(self, before: Weighed, after: Weighed, found: Spread) -> WhatIf:
        return self._made(How.SAMPLED, before, after, found)

    def _made(self, how: How, before: Weighed, after: Weighed, found: Spread | None) -> WhatIf:
        flagged = [flags_of(each.earned, each.proposal.acts) for each in (before, after)]
        rounds = before.earned.rounds
        return WhatIf(
            epoch=self.epoch.number,
            changes=self.changes,
            how=how,
            differing=self.differing,
            rounds=rounds if self.rounds is None else self.rounds,
            of_rounds=rounds if self.of_rounds is None else self.of_rounds,
            had=self.epoch.weights,
            before=before,
            after=after,
            diff=weight_diff(before.weights, after.weights, *flagged),
            acts=other_acts(before.proposal.acts, after.proposal.acts),
            effort=self.effort,
            spread=found,
            unscorable=self.unscorable,
        )

"""An epoch's weights as they would be with something otherwise, beside those that were set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import polars as pl

from loosh_pipeline.audit.changes import Changes
from loosh_pipeline.audit.effects import notes_of, without_effect
from loosh_pipeline.audit.recorded import RecordedEpoch, differences, given_of, stored_from
from loosh_pipeline.audit.sampling import (
    Advance,
    Draw,
    Interval,
    Spread,
    drawn,
    of_rounds,
    scaled,
    score_anew,
    spread,
)
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
from loosh_pipeline.errors import ConfigError, ScoringError
from loosh_pipeline.paid import settles
from loosh_pipeline.paying import as_earned
from loosh_pipeline.policy.checks import unmet
from loosh_pipeline.scoring.profile import parameters_of
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import WindowRows
from loosh_pipeline.store.tables import Tables


class How(StrEnum):
    """From what a what-if was worked out."""

    STORED = "stored"
    """From the stored rows and pairs of all rounds."""
    RESCORED = "rescored"
    """All rounds were scored anew from their texts and vectors."""
    INCOMPLETE = "incomplete"
    """All rounds that can be scored anew were; some cannot, and both sides are without them."""
    SAMPLED = "sampled"
    """From a sample of rounds that were scored anew, the weights as they are worked out on the same sample."""


EXACT = frozenset({How.STORED, How.RESCORED})


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

    Of `of_rounds` that are stored, `before` and `after` rest on those that they say; those of `unscorable` could not
    be scored. `had`: the epoch's weights, which `diff` starts from but for a sample. `held_up`: checks that would stop
    what comes out, at the time of the proposal. `without_effect`: what was changed and does nothing here, and why.
    `short`: why what is stored is not all that it takes. `notes`: what else to know in reading it.
    """

    epoch: RecordedEpoch
    changes: Changes
    how: How
    differing: tuple[str, ...]
    of_rounds: int
    before: Weighed
    after: Weighed
    diff: WeightDiff
    acts: tuple[OtherAct, ...]
    effort: Effort
    spread: Spread | None = None
    unscorable: tuple[str, ...] = ()
    held_up: tuple[str, ...] = ()
    without_effect: tuple[str, ...] = ()
    short: str = ""
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return self.how in EXACT and not self.short

    @property
    def had(self) -> Mapping[Hotkey, float]:
        return self.epoch.weights

    @property
    def total_variation(self) -> float:
        return self.diff.total_variation if self.spread is None else self.spread.total_variation.value

    @property
    def ranks(self) -> float | None:
        """The rank correlation."""
        if self.spread is None:
            return self.diff.rank_correlation
        return None if self.spread.ranks is None else self.spread.ranks.value

    @property
    def vtrust(self) -> float | None:
        """As of `WeightDiff`, from the same estimate as the total variation."""
        return 1.0 - self.total_variation if self.diff.comparable else None

    @property
    def unjudged(self) -> tuple[Hotkey, ...]:
        return () if self.spread is None else self.spread.unjudged

    def interval(self, hotkey: Hotkey) -> Interval | None:
        """Of a miner's change; None where it is exact, or where nothing can be said of it."""
        return None if self.spread is None else self.spread.changes.get(hotkey)


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
    about = _About(tables, epoch, changes, effort, tuple(differences(epoch, before)))
    rows = _rows_under(tables, stored, changes, profile)
    if rows is None:
        return _scored(about, inbox, stored, profile, advance)
    asked = changes.applied(replace(stored, rows=rows, profile=profile))
    after = weighed_over(asked, changes.lookbacks_h(asked.inputs, asked.terms))
    return about.made(How.STORED, before, after, asked)


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


def _scored(about: _About, inbox: Inbox, stored: Given, profile: ScoringProfile, advance: Advance) -> WhatIf:
    """By scoring rounds anew: all of them, or a sample."""
    effort, changes = about.effort, about.changes
    rounds = sorted(stored.rows.scores["challenge_id"].unique())
    chosen = rounds if effort.full else drawn(rounds, effort.sample, effort.seed)
    by_time = _by_time(stored.rows, chosen)
    found = score_anew(about.tables, inbox, by_time, profile, changes.left_out, advance, effort.processes)
    scored = found.rows.scores["challenge_id"].unique().to_list()
    why = tuple(f"{each.name}: {each.reason}" for each in found.unscorable)
    if not scored:
        raise ScoringError(f"none of {len(chosen)} rounds can be scored anew: {'; '.join(why[:1])}")
    before = replace(stored, rows=of_rounds(stored.rows, scored))
    after = changes.applied(replace(stored, rows=found.rows, profile=profile))
    about = replace(about, of_rounds=len(rounds), unscorable=why)
    if len(chosen) < len(rounds):
        return _sampled(about, before, after, len(scored) / len(rounds))
    how = How.RESCORED if len(scored) == len(rounds) else How.INCOMPLETE
    hours = changes.lookbacks_h(after.inputs, after.terms)
    return about.made(how, weighed(before), weighed_over(after, hours), after)


def _sampled(about: _About, before: Given, after: Given, part: float) -> WhatIf:
    """Both sides on the same part of all rounds."""
    before, after = scaled(before, part), scaled(after, part)
    hours = about.changes.lookbacks_h(after.inputs, after.terms)
    was, would = earnings_again(before), earnings_over(after, hours)
    old, new = (proposed(each.inputs, as_earned(of), each.subnet) for each, of in ((before, was), (after, would)))
    asked = {h: count for h, count in about.epoch.asked.items() if h not in about.changes.left_out}
    draw = Draw(about.of_rounds or 0, about.effort.seed)
    found = spread(before, was, after, would, weight_diff(old.weights, new.weights), asked, draw)
    return about.made(How.SAMPLED, old, new, after, found)


def _by_time(rows: WindowRows, rounds: Sequence[str]) -> list[str]:
    """Rounds that came one after the other were given the same context, which is then read once."""
    times = rows.scores.select("challenge_id", "received_at").unique("challenge_id").sort("received_at", "challenge_id")
    return times.filter(pl.col("challenge_id").is_in(list(rounds)))["challenge_id"].to_list()


@dataclass(frozen=True, eq=False)
class _About:
    """What is known of a what-if before its weights."""

    tables: Tables
    epoch: RecordedEpoch
    changes: Changes
    effort: Effort
    differing: tuple[str, ...]
    of_rounds: int | None = None
    unscorable: tuple[str, ...] = ()

    def made(self, how: How, before: Weighed, after: Weighed, asked: Given, found: Spread | None = None) -> WhatIf:
        """`asked`: what `after` was made of."""
        flagged = [flags_of(each.earned, each.proposal.acts) for each in (before, after)]
        return WhatIf(
            epoch=self.epoch,
            changes=self.changes,
            how=how,
            differing=self.differing,
            of_rounds=max(before.earned.rounds, after.earned.rounds) if self.of_rounds is None else self.of_rounds,
            before=before,
            after=after,
            diff=weight_diff(before.weights, after.weights, *flagged),
            acts=other_acts(before.proposal.acts, after.proposal.acts),
            effort=self.effort,
            spread=found,
            unscorable=self.unscorable,
            held_up=tuple(unmet(after.proposal, replace(asked.inputs, earned=after.earned))),
            without_effect=tuple(without_effect(self.changes, self.epoch.inputs, asked.profile, before, after)),
            short=self._short(after, asked),
            notes=tuple(notes_of(self.changes, before, after)),
        )

    def _short(self, after: Weighed, asked: Given) -> str:
        """Why what is stored is not all that the lookback takes; empty when it is."""
        since = since_of(asked.profile, asked.terms.made_at, after.earned.lookback_h)
        first = None if since >= self.epoch.terms.since else stored_from(self.tables, since)
        if first is None:
            return ""
        return f"the lookback reaches back to {since:%F %R}, and scores are stored from {first:%F %R} UTC on"

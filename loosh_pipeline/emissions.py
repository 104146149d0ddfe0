"""From payouts to emissions: what each miner earned over the lookback.

Everything is taken from one value, a row for every miner asked in every round (`Paid`), and comes out the same to the
last bit in whatever order its rows stand. Under the robust profile the rounds of the lookback are settled together
first; then, with d = 0.5 ** (age / half-life) of every ask,

    mean     = sum(d * payout) / sum(d)            a failed ask is a payout of 0
    evidence = sum(d) ** 2 / sum(d ** 2)           how many rounds of equal age they are worth (Kish)
    full     = min(setting, upper quartile of evidence)    what the window makes attainable: `policy.evidence`
    ramp     = min(1, evidence / full)             a newcomer starts small; from there on luck in the draw costs nothing
    emission = mean * ramp * coverage              coverage: how much of the time it was there (`presence`)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from loosh_pipeline.domain import Emission, Hotkey, Mode
from loosh_pipeline.paid import Paid
from loosh_pipeline.policy.evidence import full_evidence
from loosh_pipeline.scoring.network.pay import EmissionRow, fresh_averages, moving_averages
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.signals import Flags, Floats, Ints

DEFAULT_PAY = NetworkPay()
MS_PER_H = 3_600_000.0


@dataclass(frozen=True, slots=True)
class EmissionRule:
    """How rounds of different age count, and how many of them are full evidence."""

    half_life_h: float = 12.0
    """With the lookback of 24 h a round leaves it with a quarter of its weight, so that nothing jumps when it does,
    and the rounds of an evenly asked miner are still worth 87 % of their number as evidence."""
    full_evidence_rounds: float = 10.0
    """Rankings by fewer are too noisy to pay in full, and rings that alter their copies are told only by as many."""

    def __post_init__(self) -> None:
        if not (self.half_life_h > 0 and self.full_evidence_rounds > 0):
            raise ValueError(f"{self}: half-life and full evidence must be above 0")


DEFAULT_RULE = EmissionRule()


@dataclass(frozen=True, slots=True)
class Terms:
    """By what emissions were made of the rounds that counted: with these and the rounds, the same come out again.

    `since`: from when on rounds count, of which there are `rounds`, without those left out. `looks_until`: the newest
    look that counts, of those since then; None for none. `parameters`: of the profile.
    """

    profile: str
    parameters: Mapping[str, float]
    made_at: datetime
    since: datetime
    lookback_h: float
    mode: Mode
    rule: EmissionRule
    rounds: int
    looks_until: datetime | None = None


def since_of(profile: ScoringProfile, now: datetime, lookback_h: float) -> datetime:
    """From when on rounds count. The network's method looks at its 24 h at least: else its averages would begin
    elsewhere than those of others.
    """
    if isinstance(profile, NetworkProfile):
        lookback_h = max(lookback_h, DEFAULT_PAY.lookback_hours)
    return now - timedelta(hours=lookback_h)


def emissions_from(
    paid: Paid,
    profile: ScoringProfile,
    now: datetime,
    *,
    coverage: Mapping[Hotkey, float] | None = None,
    mode: Mode = Mode.NORMAL,
    rule: EmissionRule = DEFAULT_RULE,
) -> tuple[Emission, ...]:
    """The emissions of what was paid, under a profile, sorted by hotkey.

    `coverage` counts under the robust profile (1 for whom it does not name), `mode` under the network's.
    """
    if isinstance(profile, NetworkProfile):
        return network_emissions(paid, now, mode, rule)
    return aggregate(paid, coverage or {}, rule)


def aggregate(paid: Paid, coverage: Mapping[Hotkey, float], rule: EmissionRule = DEFAULT_RULE) -> tuple[Emission, ...]:
    """Emissions under the robust profile, sorted by hotkey; their weights sum to 1, or are all 0 when nobody earned."""
    found, records = [], list(_records(paid, rule))
    full = full_evidence(rule.full_evidence_rounds, [each.evidence for each in records])
    for record in records:
        covered, ramp = coverage.get(record.hotkey, 1.0), min(1.0, record.evidence / full)
        found.append(replace(record, ramp=ramp, coverage=covered, emission=record.mean_payout * ramp * covered))
    return _weighed(found)


def network_emissions(
    paid: Paid,
    now: datetime,
    mode: Mode = Mode.NORMAL,
    rule: EmissionRule = DEFAULT_RULE,
    pay: NetworkPay = DEFAULT_PAY,
) -> tuple[Emission, ...]:
    """Emissions as the network's existing validator makes them: a moving average, 0 for who has not answered lately.

    How lately hangs on the mode. Evidence is counted and coverage is not: the network's method knows neither.
    """
    records = list(_records(paid, rule))
    averages = moving_averages(list(_network_rows(paid)), now, pay)
    answered = {each.hotkey: each.last_answered_at for each in records if each.last_answered_at}
    fresh = fresh_averages(averages, answered, now, mode, pay)
    return _weighed([replace(each, emission=fresh.get(each.hotkey, 0.0)) for each in records])


def _network_rows(paid: Paid) -> Iterator[EmissionRow]:
    """What each round paid, the oldest first; who was not measured is not in it."""
    rows = np.flatnonzero(paid.measured)
    rows = rows[np.lexsort((paid.miner[rows], paid.round[rows], paid.at_ms[rows]))]
    starts = np.flatnonzero(np.diff(paid.round[rows], prepend=-1))
    for part in np.split(rows, starts[1:]) if len(rows) else []:
        names = (paid.hotkeys[miner] for miner in paid.miner[part].tolist())
        yield EmissionRow(_time(int(paid.at_ms[part[0]])), dict(zip(names, paid.payout[part].tolist(), strict=True)))


def _records(paid: Paid, rule: EmissionRule) -> Iterator[Emission]:
    """Counts, mean and evidence of every miner, in order of hotkeys."""
    for hotkey, part in _by_miner(paid):
        yield _record(hotkey, paid.at_ms[part], paid.payout[part], paid.answered[part], rule)


def _by_miner(paid: Paid) -> Iterator[tuple[Hotkey, Ints]]:
    """The rows of every miner, in order of hotkeys."""
    order = np.argsort(paid.miner, kind="stable")
    ends = np.cumsum(np.bincount(paid.miner, minlength=len(paid.hotkeys)))
    yield from zip(paid.hotkeys, np.split(order, ends[:-1]), strict=False)


def answered_shares(paid: Paid, rule: EmissionRule = DEFAULT_RULE) -> dict[Hotkey, float]:
    """The part of its asks that each miner answered, asks counted by age as in its mean payout."""
    found = {}
    for hotkey, part in _by_miner(paid):
        decay = decays(paid.at_ms[part], rule.half_life_h)
        found[hotkey] = math.fsum(decay[paid.answered[part]].tolist()) / math.fsum(decay.tolist())
    return found


def decays(at_ms: Ints, half_life_h: float) -> Floats:
    """(m,) how much each ask of one miner counts beside its newest.

    Ages are counted from that: counted from now, all would shrink alike, which changes neither mean nor evidence, and
    at great ages all would be 0.
    """
    found: Floats = 0.5 ** ((at_ms.max(initial=0) - at_ms) / (half_life_h * MS_PER_H))
    return found


def _record(
    hotkey: Hotkey,
    at_ms: Ints,
    payouts: Floats,
    answered: Flags,
    rule: EmissionRule,
) -> Emission:
    """Of one miner. `math.fsum` rounds once, so the order of its rounds changes no bit."""
    decay = decays(at_ms, rule.half_life_h)
    weight = math.fsum(decay.tolist())
    return Emission(
        hotkey=hotkey,
        asked=len(payouts),
        answered=int(answered.sum()),
        paid=int((payouts > 0).sum()),
        mean_payout=math.fsum((decay * payouts).tolist()) / weight,
        emission=0.0,
        weight=0.0,
        last_answered_at=_time(int(at_ms[answered].max())) if answered.any() else None,
        evidence=weight**2 / math.fsum((decay**2).tolist()),
    )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _weighed(emissions: Sequence[Emission]) -> tuple[Emission, ...]:
    total = math.fsum(each.emission for each in emissions)
    if not total > 0:
        return tuple(emissions)
    return tuple(replace(each, weight=each.emission / total) for each in emissions)

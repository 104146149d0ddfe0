"""How much of the time each miner was there, from the looks that the validator took at all of them.

Being drawn hangs on being there when the draw is made, and pay is a mean over draws: without this, whoever answers well
one minute in ten would earn like one that always serves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.signals import Flags, Ints

PRIOR_LOOKS = 1.0
"""Looks that everybody is taken to have passed before the first: one lost packet, right after a validator's start, must
not cost a miner all of its pay. Beside the looks of a day it is nothing."""
CUT_OFF = 0.5
"""Part of the median number of found miners below which it is our own line that failed."""
MS_PER_H = 3_600_000.0


@dataclass(frozen=True, eq=False)
class Looks:
    """m rows, one for every neuron that was looked for, of every look, in any order: arrays (m,).

    `hotkeys` is sorted, without duplicates, and `miner` are places in it. `at_ms`: when the look was taken, in
    milliseconds since 1970 UTC, by which looks are told apart.
    """

    hotkeys: tuple[Hotkey, ...]
    miner: Ints
    at_ms: Ints
    available: Flags


@dataclass(frozen=True, slots=True)
class Attendance:
    """The looks behind the coverage of one miner: those taken since the first that it was looked for in.

    `there` of `looks` found it; `missed_ms` are the times of the others, the newest first. `cut_off`: looks that count
    for nobody. Times in milliseconds since 1970 UTC.
    """

    looks: int
    there: int
    cut_off: int
    since_ms: int
    missed_ms: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Seen:
    """The k looks that count: `times` (k,), and of n hotkeys who was looked for and who was there, (n, k)."""

    times: Ints
    seen: Flags
    there: Flags
    cut_off: int


def _counting(looks: Looks) -> _Seen | None:
    """None where no look found anybody."""
    times, look = np.unique(looks.at_ms, return_inverse=True)
    seen = np.zeros((len(looks.hotkeys), len(times)), dtype=np.bool_)
    there = seen.copy()
    seen[looks.miner, look] = True
    there[looks.miner[looks.available], look[looks.available]] = True
    found = there.sum(axis=0)
    if not found.any():
        return None
    connected = found >= max(1.0, CUT_OFF * np.median(found[found > 0]))
    return _Seen(times[connected], seen[:, connected], there[:, connected], int((~connected).sum()))


def coverage_of(looks: Looks, half_life_h: float) -> dict[Hotkey, float]:
    """The decayed share of looks in which each hotkey was available, since the first that it is in; in [0, 1].

    Who is missing from a later look was not there. A look that found fewer than half as many as looks do (their median)
    says that we were cut off, and not who was there: it is left out. Bit for bit the same in any order of the rows.
    """
    counting = _counting(looks)
    if counting is None:
        return {}
    times, seen, there = counting.times, counting.seen, counting.there
    decay = 0.5 ** ((times[-1] - times) / (half_life_h * MS_PER_H))
    since = np.cumsum(decay[::-1])[::-1][seen.argmax(axis=1)]
    share = np.minimum((PRIOR_LOOKS + (there * decay).sum(axis=1)) / (PRIOR_LOOKS + since), 1.0)
    return {looks.hotkeys[i]: float(share[i]) for i in np.flatnonzero(seen.any(axis=1)).tolist()}


def there_of(looks: Looks) -> dict[Hotkey, tuple[int, int]]:
    """In how many of how many looks each hotkey was there, as `attendance_of` counts them for one."""
    counting = _counting(looks)
    if counting is None:
        return {}
    seen, first = counting.seen.any(axis=1), counting.seen.argmax(axis=1)
    since = np.arange(counting.seen.shape[1]) >= first[:, np.newaxis]
    there, of = (counting.there & since).sum(axis=1), since.sum(axis=1)
    return {looks.hotkeys[i]: (int(there[i]), int(of[i])) for i in np.flatnonzero(seen).tolist()}


def attendance_of(looks: Looks, hotkey: Hotkey) -> Attendance | None:
    """The looks that the coverage of a hotkey was counted from; None where it was looked for in none of them."""
    counting = _counting(looks) if hotkey in looks.hotkeys else None
    if counting is None:
        return None
    place = looks.hotkeys.index(hotkey)
    if not counting.seen[place].any():
        return None
    first = int(counting.seen[place].argmax())
    there, times = counting.there[place, first:], counting.times[first:]
    missed = tuple(times[~there][::-1].tolist())
    return Attendance(len(times), int(there.sum()), counting.cut_off, int(times[0]), missed)

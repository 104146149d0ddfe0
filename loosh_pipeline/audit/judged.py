"""The settled rounds of one miner judged again, all at once: who voted on its answers, and what copies cost it.

Rounds of one size are judged together by the functions that settled the window, from the standing that it gave their
identities, so that the payouts that come out are those on record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.columns import Group, WindowColumns, groups_of
from loosh_pipeline.scoring.pairs import Pair, PairHistory
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.signals import Batch, Floats, Ints
from loosh_pipeline.scoring.votes import Standing, Verdicts, judge_rounds, payouts_apart

MOST_COPIES = 20
"""Others of which each is left out in turn; beyond, only all of them together."""


@dataclass(frozen=True, eq=False)
class Judged:
    """R rounds of n compared answers: the answer at `place` (R,) is the miner's.

    `rows` (R, n): of the window's columns. `verdicts`: as they stand; `wording`, `similarity`: (R, n, n).
    """

    rows: Ints
    miners: Ints
    place: Ints
    batch: Batch
    similarity: Floats
    standing: Standing
    verdicts: Verdicts

    def votes(self) -> Floats:
        """(R, n) each peer's part of the votes on the miner's answer; NaN where nobody votes."""
        rounds = np.arange(len(self.place))
        heard = self.verdicts.vote.weight * (1 - self.copies())
        total = heard.sum(axis=1, keepdims=True)
        parts: Floats = np.divide(heard, total, out=np.full_like(heard, np.nan), where=total > 0)
        parts[rounds, self.place] = np.nan
        return parts

    def copies(self) -> Floats:
        """(R, n) the degree to which each answer counts as one with the miner's."""
        found: Floats = self.verdicts.copies[np.arange(len(self.place)), self.place]
        return found


def judged_rounds(
    columns: WindowColumns,
    miner: Hotkey,
    profile: RobustProfile,
    trust: Floats,
    gate: Floats,
    degrees: Mapping[Pair, float],
) -> list[Judged]:
    """The rounds of a window in which the miner's answer was compared, by size.

    `trust` and `gate` (m,): of every row of the columns, as the window settled them. `degrees`: of the pairs that it
    takes for one source to any degree. Raises ValueError like `groups_of`.
    """
    me = columns.hotkeys.index(miner)
    return [
        _judged(group, columns, profile, trust, gate, degrees, me)
        for group in groups_of(columns)
        if (columns.miner[group.rows] == me).any()
    ]


def _judged(
    group: Group,
    columns: WindowColumns,
    profile: RobustProfile,
    trust: Floats,
    gate: Floats,
    degrees: Mapping[Pair, float],
    me: int,
) -> Judged:
    mine = (columns.miner[group.rows] == me).any(axis=1)
    rows = group.rows[mine]
    miners = columns.miner[rows]
    batch = group.batch(columns).part(np.flatnonzero(mine))
    standing = Standing(_sources(miners, columns.hotkeys, degrees), trust[rows], gate[rows])
    similarity = group.matrices(columns.pairs.similarity)[mine]
    verdicts = judge_rounds(batch, profile, standing)
    return Judged(rows, miners, (miners == me).argmax(axis=1), batch, similarity, standing, verdicts)


def _sources(miners: Ints, hotkeys: Sequence[Hotkey], degrees: Mapping[Pair, float]) -> Floats:
    """(R, n, n) degrees to which two of a round are one source, ones on the diagonals."""
    at = {hotkey: place for place, hotkey in enumerate(hotkeys)}
    known = np.zeros((len(hotkeys), len(hotkeys)))
    for (first, second), degree in degrees.items():
        if first in at and second in at:
            known[at[first], at[second]] = known[at[second], at[first]] = degree
    np.fill_diagonal(known, 1.0)
    sources: Floats = known[miners[:, :, np.newaxis], miners[:, np.newaxis, :]]
    return sources


def payouts_apart_from(judged: Judged, profile: RobustProfile, others: Ints) -> Floats:
    """(R,) what the miner would be paid if it shared no pay with these, what is said of its answers as it was."""
    rounds, n = np.arange(len(judged.place)), judged.miners.shape[1]
    apart = np.zeros((len(rounds), n, n), dtype=np.bool_)
    named = np.isin(judged.miners, others)
    apart[rounds, judged.place] = apart[rounds, :, judged.place] = named
    found = payouts_apart(judged.batch, profile, judged.standing, judged.verdicts, apart)
    mine: Floats = found[rounds, judged.place]
    return mine


def copied(judged: Sequence[Judged]) -> Ints:
    """Places of the miners whose answers counted as one with the miner's in some round, sorted."""
    found = [each.miners[each.copies() > 0] for each in judged]
    of_me = {int(each.miners[0, each.place[0]]) for each in judged}
    every = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    return every[~np.isin(every, list(of_me))]


def known_degree(degree: float, rounds: int, same_address: bool, same_coldkey: bool) -> PairHistory:
    """A history of which only this is on record; it says of two others how far they are one source."""
    return PairHistory(rounds, 0.0, None, None, 0.0, 0.0, degree, same_address, same_coldkey)

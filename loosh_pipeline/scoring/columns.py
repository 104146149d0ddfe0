"""The rows of many rounds as arrays, and the rounds among them that have the same number of compared answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.pairs import PairColumns, pair_columns
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.signals import Batch, Flags, Floats, Ints, Signals


@dataclass(frozen=True, eq=False)
class WindowColumns:
    """m rows of scores, one for every miner asked in every round, (m,), and the pairs of compared answers.

    `challenges` and `hotkeys` are sorted; `round` and `miner` are places in them. The other fields as in `Score`, NaN
    for None; `compared` says where there is a relevance.
    """

    challenges: tuple[ChallengeId, ...]
    hotkeys: tuple[Hotkey, ...]
    round: Ints
    miner: Ints
    compared: Flags
    words: Floats
    elapsed_ms: Floats
    relevance: Floats
    baseline: Floats
    pairs: PairColumns

    @cached_property
    def mispaired(self) -> Ints:
        """The places of the rounds that have not every two of their compared answers as a pair, once, and no other.

        Such a round cannot be judged: of who has no pair it would say that nobody agrees with it, nor copies it.
        """
        count, of_pair = len(self.challenges), self.pairs
        compared = np.sort(_key(self, self.round[self.compared], self.miner[self.compared]))
        first, second = (_key(self, of_pair.round, miner) for miner in (of_pair.first, of_pair.second))
        ordered = (of_pair.first >= 0) & (of_pair.first < of_pair.second)
        right = ordered & _among(first, compared) & _among(second, compared)
        keys = np.sort(first[right] * len(self.hotkeys) + of_pair.second[right])
        distinct = keys[np.diff(keys, prepend=-1) > 0]  # `np.unique` takes ten times as long
        found = np.bincount(distinct // max(1, len(self.hotkeys) ** 2), minlength=count)
        sizes = np.bincount(self.round[self.compared], minlength=count)
        expected = sizes * (sizes - 1) // 2
        return np.flatnonzero((found != expected) | (np.bincount(of_pair.round, minlength=count) != expected))

    def without(self, rounds: Ints) -> tuple[Ints, WindowColumns]:
        """The window without the rounds at these places, and the places of its rows in this one.

        Who was asked in those rounds alone is not in it.
        """
        rows, pairs = np.arange(len(self.miner)), np.arange(len(self.pairs))
        if not len(rounds):
            return rows, self
        kept = np.ones(len(self.challenges), dtype=np.bool_)
        kept[rounds] = False
        rows, pairs = rows[kept[self.round]], pairs[kept[self.pairs.round]]
        there = np.zeros(len(self.hotkeys) + 1, dtype=np.bool_)
        there[self.miner[rows]] = True
        challenge, miner = np.cumsum(kept) - 1, np.where(there, np.cumsum(there) - 1, -1)  # the last is for -1, no one
        return rows, WindowColumns(
            challenges=tuple(name for name, stays in zip(self.challenges, kept.tolist(), strict=True) if stays),
            hotkeys=tuple(name for name, stays in zip(self.hotkeys, there[:-1].tolist(), strict=True) if stays),
            round=challenge[self.round[rows]],
            miner=miner[self.miner[rows]],
            **{name: getattr(self, name)[rows] for name in _OF_ROWS},
            pairs=self.pairs.at(pairs, challenge, miner),
        )


_OF_ROWS = ("compared", "words", "elapsed_ms", "relevance", "baseline")


def columns_of(rounds: Sequence[RoundScores]) -> WindowColumns:
    """The rows of rounds that are sorted by challenge."""
    hotkeys = tuple(sorted({score.hotkey for each in rounds for score in each.scores}))
    at = {hotkey: i for i, hotkey in enumerate(hotkeys)}
    scores = [score for each in rounds for score in each.scores]
    pairs = [pair for each in rounds for pair in each.pairs]

    def column(name: str) -> Floats:
        values = (getattr(score, name) for score in scores)
        return np.array([math.nan if value is None else value for value in values], dtype=float)

    return WindowColumns(
        challenges=tuple(each.challenge_id for each in rounds),
        hotkeys=hotkeys,
        round=np.repeat(np.arange(len(rounds)), [len(each.scores) for each in rounds]),
        miner=np.array([at[score.hotkey] for score in scores], dtype=np.int64),
        compared=np.array([score.relevance is not None for score in scores], dtype=bool),
        words=column("words"),
        elapsed_ms=column("elapsed_ms"),
        relevance=column("relevance"),
        baseline=column("baseline"),
        pairs=pair_columns(pairs, [i for i, each in enumerate(rounds) for _ in each.pairs], at),
    )


def signals_of(scores: RoundScores) -> Signals:
    """The signals of a scored round, from its rows; bit for bit those it was scored on."""
    columns = columns_of((scores,))
    (group,) = groups_of(columns)
    batch, (rows,) = group.batch(columns), group.rows
    return Signals(
        hotkeys=tuple(columns.hotkeys[miner] for miner in columns.miner[rows]),
        similarity=group.matrices(columns.pairs.similarity)[0],
        **{name: getattr(batch, name)[0] for name in Batch.names()},
    )


@dataclass(frozen=True, eq=False)
class Group:
    """R rounds of n compared answers each.

    `rows` (R, n): the rows of their answers, by hotkey. `pairs` (q,): the rows of their pairs; `at`: for each of these
    the place of its round among the R, and the places of its two answers among the n.
    """

    rows: Ints
    pairs: Ints
    at: tuple[Ints, Ints, Ints]

    def matrices(self, values: Floats, back: Floats | None = None) -> Floats:
        """(R, n, n) of a value of pairs, ones on the diagonals, 0 where there is no pair. `back`: the other way."""
        count, n = self.rows.shape
        matrices = np.broadcast_to(np.eye(n), (count, n, n)).copy()
        k, i, j = self.at
        matrices[k, i, j] = values[self.pairs]
        matrices[k, j, i] = (values if back is None else back)[self.pairs]
        return matrices

    def batch(self, columns: WindowColumns) -> Batch:
        """The signals of these rounds."""
        pairs = columns.pairs
        return Batch(
            words=columns.words[self.rows],
            elapsed_ms=columns.elapsed_ms[self.rows],
            relevance=columns.relevance[self.rows],
            baseline=columns.baseline[self.rows],
            meaning=self.matrices(pairs.meaning),
            coverage=self.matrices(pairs.coverage, pairs.coverage_back),
            wording=self.matrices(pairs.wording),
        )


def groups_of(columns: WindowColumns) -> list[Group]:
    """The rounds by their number of compared answers, the fewest first; of no rounds, one empty group.

    Raises ValueError for a miner that is twice in a round, and for rounds that are `mispaired`.
    """
    rows = np.lexsort((columns.miner, columns.round))
    keys = _key(columns, columns.round[rows], columns.miner[rows])
    _refuse(columns, columns.round[rows[1:]][keys[1:] == keys[:-1]], "has a miner twice")
    _refuse(columns, columns.mispaired, "has other pairs than its compared answers, each two once")
    compared = columns.compared[rows]
    rows, keys, of_pair = rows[compared], keys[compared], columns.pairs
    rounds = columns.round[rows]
    sizes = np.bincount(rounds, minlength=len(columns.challenges))
    starts = np.cumsum(sizes) - sizes
    places = [
        np.searchsorted(keys, _key(columns, of_pair.round, miner)) - starts[of_pair.round]
        for miner in (of_pair.first, of_pair.second)
    ]
    groups, among = [], np.zeros(len(columns.challenges), dtype=np.int64)
    for n in np.unique(sizes).tolist() or [0]:
        members = np.flatnonzero(sizes == n)
        among[members] = np.arange(len(members))
        pairs = np.flatnonzero(sizes[of_pair.round] == n)
        at = (among[of_pair.round[pairs]], places[0][pairs], places[1][pairs])
        groups.append(Group(rows[starts[members, np.newaxis] + np.arange(n)], pairs, at))
    return groups


def _key(columns: WindowColumns, rounds: Ints, miners: Ints) -> Ints:
    """One number for each miner of each round, by which both are sorted."""
    key: Ints = rounds * len(columns.hotkeys) + miners
    return key


def _among(keys: Ints, ordered: Ints) -> Flags:
    at = np.searchsorted(ordered, keys)
    found = at < len(ordered)
    found[found] = ordered[at[found]] == keys[found]
    return found


def _refuse(columns: WindowColumns, rounds: Ints, what: str) -> None:
    if len(rounds):
        raise ValueError(f"challenge {columns.challenges[rounds[0]]} {what}; score it again, or delete what is wrong")

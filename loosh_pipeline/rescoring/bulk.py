"""Scoring many stored challenges again: read, scored by a few processes, compared with what paid, kept.

What is held at once is bounded, whatever number there is: some batches on their way, and what goes into one part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from loosh_pipeline.domain import ChallengeId, ScorerVersion
from loosh_pipeline.rescoring.comparing import Move, compared
from loosh_pipeline.rescoring.processes import ScoringProcesses, cores
from loosh_pipeline.rescoring.rounds import Found, StoredRound, Unscorable
from loosh_pipeline.rescoring.scoring import Placed, ScoredBatch, score_batch
from loosh_pipeline.rescoring.wanted import is_tried
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.score_tables import RoundTables, ScoreTables
from loosh_pipeline.store.tables import Tables

AHEAD = 2
"""Batches that wait for each process, so that none waits for its next one."""
KEPT_AT_ONCE = 2_000
"""Rounds that are written together: some 3 MB of rows, and a second of scoring to be done again after a kill."""

Batch = Sequence[Found | Unscorable]


@dataclass(frozen=True, slots=True)
class Rescored:
    """One challenge that was scored again. `against`: the version that counts for pay, to which `move` compares."""

    id: ChallengeId
    scorer_version: ScorerVersion
    context_digest: str
    asked: int
    scored: int
    paid: int
    against: ScorerVersion | None
    move: Move | None
    changed: bool
    """Whether rows were written: the same version may have said the same before."""


@dataclass(frozen=True, slots=True)
class Rescoring:
    """Where the tables are, what to score by, and beside what: the profile that pays.

    `processes`: as many as there are processors where it is not said; 0 for none beside this one.
    """

    tables_root: str
    profile: ScoringProfile
    paying: ScoringProfile
    processes: int | None = None

    def run(self, batches: Iterable[Batch]) -> Iterator[Rescored | Unscorable]:
        """Score what was found. What comes out is kept; it comes in batches, in their order."""
        tables = Tables(self.tables_root)
        keeper = _Keeper(self, ScoreTables(tables))
        with ExitStack() as stack:
            for batch, scored in _scored(self, Contexts(tables), iter(batches), stack):
                yield from (each for each in batch if isinstance(each, Unscorable))
                yield from scored.unscorable
                yield from keeper.take(batch, scored)
        yield from keeper.flush()


def _scored(
    rescoring: Rescoring, here: Contexts, batches: Iterator[Batch], stack: ExitStack
) -> Iterator[tuple[Batch, ScoredBatch]]:
    """The first batch is scored here, as most often there is no other; processes are started for the next."""
    first = next(batches, None)
    if first is None:
        return
    yield first, score_batch(_rounds(first), here.at, rescoring.profile)
    count = cores() if rescoring.processes is None else rescoring.processes
    waiting: deque[tuple[Batch, Future[ScoredBatch]]] = deque()
    submit: Callable[[Sequence[StoredRound]], Future[ScoredBatch]] | None = None
    for batch in batches:
        if not count:
            yield batch, score_batch(_rounds(batch), here.at, rescoring.profile)
            continue
        if submit is None:
            submit = stack.enter_context(ScoringProcesses(rescoring.tables_root, rescoring.profile, count)).submit
        waiting.append((batch, submit(_rounds(batch))))
        if len(waiting) > AHEAD * count:
            done, future = waiting.popleft()
            yield done, future.result()
    while waiting:
        done, future = waiting.popleft()
        yield done, future.result()


def _rounds(batch: Batch) -> list[StoredRound]:
    return [each.round for each in batch if isinstance(each, Found)]


class _Keeper:
    """Compares rounds with what they were paid, and writes those that are new or different."""

    def __init__(self, rescoring: Rescoring, stored: ScoreTables) -> None:
        self._stored, self._by = stored, rescoring
        self._versions: dict[frozenset[str], ScorerVersion | None] = {}
        self._noted: set[str] = set()
        self._new: list[RoundTables] = []
        self._done: list[Rescored] = []

    def take(self, batch: Batch, scored: ScoredBatch) -> Iterator[Rescored]:
        """Those that can be told of by now."""
        found = {each.round.id: each for each in batch if isinstance(each, Found)}
        ends = accumulate(each.rows for each in scored.rounds), accumulate(each.pairs for each in scored.rounds)
        for placed, row, pair in zip(scored.rounds, *ends, strict=True):
            scores = scored.scores.slice(row - placed.rows, placed.rows)
            pairs = scored.pairs.slice(pair - placed.pairs, placed.pairs)
            self._take(found[placed.id], placed, scores, pairs)
        if len(self._new) >= KEPT_AT_ONCE:
            yield from self.flush()

    def _take(self, found: Found, placed: Placed, scores: pl.DataFrame, pairs: pl.DataFrame) -> None:
        version = self._version(placed.model_digest)
        tables = RoundTables.of(placed.id, placed.received_at, version, scores, pairs)
        had = {each["scorer_version"][0]: each for each in found.scores}
        changed = not (version in had and had[version].equals(scores) and self._stored.has_pairs(tables))
        if changed and version in had:
            self._stored.replace(tables)
        elif changed:
            self._new.append(tables)
        against = self._counting(had)
        move = None if against is None else compared(_payouts(had[against]), _payouts(scores))
        counts = placed.rows, int(scores["scored"].sum()), int((scores["payout"] > 0).sum())
        digest = str(scores["context_digest"][0]) if placed.rows else ""
        self._done.append(Rescored(placed.id, version, digest, *counts, against, move, changed))

    def flush(self) -> Iterator[Rescored]:
        """Write what is new; then it can be told of."""
        self._stored.write_many(self._new)
        done, self._new, self._done = self._done, [], []
        yield from done

    def _version(self, model_digest: str) -> ScorerVersion:
        """The version of the scorer on a model, described before the first row says it."""
        if model_digest not in self._noted:
            self._stored.note_scorer(self._by.profile, model_digest, tried=is_tried(self._by.profile))
            self._noted.add(model_digest)
        return scorer_version(self._by.profile, model_digest)

    def _counting(self, had: dict[ScorerVersion, pl.DataFrame]) -> ScorerVersion | None:
        """Which of the versions that a round has counts for pay; None while none of the paying profile does."""
        name = self._by.paying.name
        versions = frozenset(version for version, scores in had.items() if scores["profile"][0] == name)
        if versions not in self._versions:
            self._versions[versions] = next(iter(self._stored.counting(versions, self._by.paying)), None)
        return self._versions[versions]


def _payouts(scores: pl.DataFrame) -> dict[str, float]:
    return dict(zip(scores["hotkey"].to_list(), scores["payout"].to_list(), strict=True))

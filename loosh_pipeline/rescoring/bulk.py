"""Scoring many stored challenges again: read, scored by a few processes, compared with what paid, kept.

What is held at once is bounded, whatever number there is: some batches on their way, and what goes into one part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

import polars as pl

from loosh_pipeline.domain import ChallengeId, ScorerVersion
from loosh_pipeline.errors import StoreError
from loosh_pipeline.rescoring.comparing import Move, compared, differing
from loosh_pipeline.rescoring.processes import ScoringProcesses
from loosh_pipeline.rescoring.rounds import Found, StoredRound, Unscorable
from loosh_pipeline.rescoring.scoring import Placed, ScoredBatch, score_batch
from loosh_pipeline.rescoring.wanted import is_tried
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.score_tables import CANARIES, IN_USE, TRIED, RoundTables, ScoreTables
from loosh_pipeline.store.tables import Tables

AHEAD = 2
"""Batches that wait for each process, so that none waits for its next one."""
KEPT_AT_ONCE = 2_000
"""Rounds that are written together: some 3 MB of rows, and a second of scoring to be done again after a kill."""
TOLD_AT_ONCE = 200
"""Of these, how many come out with each further batch: whoever tells Dagster of them holds others up no longer."""

Batch = Sequence[Found | Unscorable]


@dataclass(frozen=True, slots=True)
class Rescored:
    """One challenge that was scored again. `against`: the version that counts for pay, to which `move` compares.

    `written`: whether rows were; the same version may have said the same before. `differs`: columns in which stored
    rows of the same version say otherwise; those stay unless they are to be replaced. `remark`: what could not be read.
    """

    id: ChallengeId
    scorer_version: ScorerVersion
    context_digest: str
    asked: int
    scored: int
    paid: int
    against: ScorerVersion | None
    move: Move | None
    written: bool
    differs: tuple[str, ...] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Rescoring:
    """Where the tables are, what to score by, and beside what: the profile that pays.

    `used`: names of the profiles that run here (SCORING_PROFILES), beside the one that pays. `processes`: as many as
    there is room for where it is not said; 0 for none beside this one. `replace`: whether rows of the same version that
    say otherwise are written over, be they those that paid.
    """

    tables_root: str
    profile: ScoringProfile
    paying: ScoringProfile
    processes: int | None = None
    used: Collection[str] = ()
    replace: bool = False

    @property
    def tried(self) -> bool:
        """Whether this only tries something: then what it writes lies apart."""
        return is_tried(self.profile, {self.paying.name, *self.used})

    def run(self, batches: Iterator[Batch]) -> Generator[Rescored | Unscorable]:
        """Score what was found. What comes out is kept; it comes in batches, in their order.

        Close it where it is not used up: then what was scored is written, and the processes end.
        """
        tables = Tables(self.tables_root)
        keeper = _Keeper(self, tables)
        try:
            with ExitStack() as stack:
                for batch, scored in _scored(self, Contexts(tables), batches, stack):
                    yield from (each for each in batch if isinstance(each, Unscorable))
                    yield from scored.unscorable
                    keeper.take(batch, scored)
                    yield from keeper.told(TOLD_AT_ONCE)
        finally:
            keeper.write()
        yield from keeper.told()


def _scored(
    rescoring: Rescoring, here: Contexts, batches: Iterator[Batch], stack: ExitStack
) -> Iterator[tuple[Batch, ScoredBatch]]:
    """The first batch is scored here, as most often there is no other; processes are started for the next."""
    first = next(batches, None)
    if first is None:
        return
    yield first, score_batch(_rounds(first), here.at, rescoring.profile)
    waiting: deque[tuple[Batch, Future[ScoredBatch]]] = deque()
    submit: Callable[[Sequence[StoredRound]], Future[ScoredBatch]] | None = None
    ahead = 0
    for batch in batches:
        if rescoring.processes == 0:
            yield batch, score_batch(_rounds(batch), here.at, rescoring.profile)
            continue
        if submit is None:
            pool = ScoringProcesses(rescoring.tables_root, rescoring.profile, rescoring.processes)
            submit, ahead = stack.enter_context(pool).submit, AHEAD * pool.count
        waiting.append((batch, submit(_rounds(batch))))
        if len(waiting) > ahead:
            done, future = waiting.popleft()
            yield done, future.result()
    while waiting:
        done, future = waiting.popleft()
        yield done, future.result()


def _rounds(batch: Batch) -> list[StoredRound]:
    return [each.round for each in batch if isinstance(each, Found)]


class _Keeper:
    """Compares rounds with what they were paid, and writes those that are new."""

    def __init__(self, rescoring: Rescoring, tables: Tables) -> None:
        self._by, self._tried = rescoring, rescoring.tried
        self._paid = ScoreTables(tables)
        self._others = ScoreTables(tables, TRIED if self._tried else IN_USE)
        self._canaries = ScoreTables(tables, CANARIES)
        self._versions: dict[frozenset[ScorerVersion], ScorerVersion | None] = {}
        self._noted: set[tuple[str, bool]] = set()
        self._new: list[tuple[RoundTables, bool]] = []
        self._done: list[Rescored] = []
        self._telling: deque[Rescored] = deque()

    def take(self, batch: Batch, scored: ScoredBatch) -> None:
        """Compare what was scored, and write when there is much."""
        found = {each.round.id: each for each in batch if isinstance(each, Found)}
        ends = accumulate(each.rows for each in scored.rounds), accumulate(each.pairs for each in scored.rounds)
        for placed, row, pair in zip(scored.rounds, *ends, strict=True):
            scores = scored.scores.slice(row - placed.rows, placed.rows)
            pairs = scored.pairs.slice(pair - placed.pairs, placed.pairs)
            self._take(found[placed.id], placed, scores, pairs)
        if len(self._new) >= KEPT_AT_ONCE:
            self.write()

    def _take(self, found: Found, placed: Placed, scores: pl.DataFrame, pairs: pl.DataFrame) -> None:
        version = self._version(placed.model_digest, found.canary)
        tables = RoundTables.of(placed.id, placed.received_at, version, scores, pairs)
        had = {each["scorer_version"][0]: each for each in found.scores}
        written, differs = self._keep(tables, had.get(version), found)
        against = None if found.canary else self._counting(had)
        move = None if against is None else compared(_payouts(had[against]), _payouts(scores))
        counts = placed.rows, int(scores["scored"].sum()), int((scores["payout"] > 0).sum())
        digest = str(scores["context_digest"][0]) if placed.rows else ""
        self._done.append(
            Rescored(placed.id, version, digest, *counts, against, move, written, differs, found.unreadable)
        )

    def _keep(self, tables: RoundTables, paid: pl.DataFrame | None, found: Found) -> tuple[bool, tuple[str, ...]]:
        """Whether a round's rows are written, and in which columns stored ones of its version differ."""
        kept, apart = self._shelf(found.canary), self._tried and not found.canary
        stored = _stored(kept, tables) if apart else paid
        if stored is None:
            # What cannot be read may be of this version, and what paid: a backup may bring it back.
            if found.unreadable and not apart and not self._by.replace:
                return False, ()
            self._new.append((tables, found.canary))
            return True, ()
        pairs = kept.pairs_of(tables.key)
        differs = differing(stored, tables.scores)
        if pairs is not None:
            differs += tuple(f"{PAIR} {name}" for name in differing(pairs, tables.pairs))
        write = self._by.replace if differs else pairs is None
        if write:
            kept.replace(tables)
        return write, differs

    def _shelf(self, canary: bool) -> ScoreTables:
        """Where a round goes: a canary's never to where others are, be it only tried."""
        return self._canaries if canary else self._others

    def write(self) -> None:
        """Write what is new; then it can be told of."""
        new, self._new = self._new, []
        for canary in (False, True):
            self._shelf(canary).write_many([tables for tables, of in new if of is canary])
        self._telling.extend(self._done)
        self._done = []

    def told(self, most: int | None = None) -> Iterator[Rescored]:
        """What is written, so many at most, each once."""
        for _ in range(len(self._telling) if most is None else min(most, len(self._telling))):
            yield self._telling.popleft()

    def _version(self, model_digest: str, canary: bool) -> ScorerVersion:
        """The version of the scorer on a model, described before the first row says it."""
        if (model_digest, canary) not in self._noted:
            self._shelf(canary).note_scorer(self._by.profile, model_digest)
            self._noted.add((model_digest, canary))
        return scorer_version(self._by.profile, model_digest)

    def _counting(self, had: Collection[ScorerVersion]) -> ScorerVersion | None:
        """Which of the versions that a round has counts for pay; None while none does."""
        versions = frozenset(had)
        if versions not in self._versions:
            self._versions[versions] = next(iter(self._paid.counting(versions, self._by.paying)), None)
        return self._versions[versions]


PAIR = "pair"
"""Before the names of columns of pairs."""


def _stored(kept: ScoreTables, tables: RoundTables) -> pl.DataFrame | None:
    """What an earlier trial said; None too where that cannot be read."""
    try:
        return kept.scores_of(tables.key)
    except StoreError:
        return None


def _payouts(scores: pl.DataFrame) -> dict[str, float]:
    return dict(zip(scores["hotkey"].to_list(), scores["payout"].to_list(), strict=True))

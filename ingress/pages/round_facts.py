"""Reads what is stored of one challenge: whatever is there, and of the rest why it is not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import polars as pl

from ingress.parts import Parts
from loosh_pipeline.domain import ChallengeState, Hotkey, Response
from loosh_pipeline.errors import LooshError, StoreError
from loosh_pipeline.rescoring.wanted import profile_with
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.store.frames import responses_of
from loosh_pipeline.store.inbox import InboxRow
from loosh_pipeline.store.one_challenge import OneChallenge, one_challenge
from loosh_pipeline.store.score_frames import PAIRS, scores_of
from loosh_pipeline.store.score_tables import CANARIES, IN_USE, ScoreTables
from loosh_pipeline.store.settled import SettledRound, SettledRounds
from loosh_pipeline.store.tables import TableKey, Tables

logger = logging.getLogger(__name__)

UNREADABLE = (LooshError, OSError, ValueError, KeyError, pl.exceptions.PolarsError)
"""What reading a table may end with: it is gone, broken, or of a release that wrote other columns."""
NOT_YET: Mapping[ChallengeState, str] = {
    ChallengeState.RECEIVED: "it waits for a run, which asks the miners",
    ChallengeState.DISPATCHED: "its miners are being asked",
    ChallengeState.COLLECTED: "its answers are being scored",
    ChallengeState.FAILED: "it was given up",
}

ANSWERS, SCORES = "answers", "scores"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a page cannot show, and why. `broken`: it should be there."""

    what: str
    why: str
    broken: bool = False


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of a round in the version that counts under a profile.

    `profile`: with the parameters of that version; None where this release does not know them. `paired`: whether the
    pairs of its answers are there.
    """

    scores: RoundScores
    profile: ScoringProfile | None
    described: Mapping[str, Any]
    paired: bool


@dataclass(frozen=True, slots=True)
class Told:
    """The narrative of a round. `source`: `composed`, or which model wrote it."""

    text: str
    source: str

    @property
    def by_model(self) -> str:
        """The model that wrote it; empty when it was composed from the figures."""
        return self.source.removeprefix("llm:") if self.source.startswith("llm:") else ""


@dataclass(frozen=True, eq=False)
class RoundFacts:
    """All that is stored of one challenge. `scored`: by profile, the paying one first; `settled`: what its window made
    of it, once weights were made of that.
    """

    row: InboxRow
    known: OneChallenge
    responses: tuple[Response, ...]
    scored: Mapping[str, Scored]
    settled: SettledRound | None
    narrative: Told | None
    missing: tuple[Missing, ...]

    @property
    def paying(self) -> Scored | None:
        """By what pays, or else by what there is."""
        return next(iter(self.scored.values()), None)


def round_facts(parts: Parts, row: InboxRow) -> RoundFacts:
    """Reads a handful of files whatever else is stored, and never fails for the sake of one of them."""
    known = one_challenge(parts.inbox.engine, row.id, show_canaries=not parts.settings.pages_public)
    reader = _Reader(parts.tables, row, known.canary)
    responses = reader.responses()
    scored = reader.scored(paying_profile(parts.settings))
    settled = None if known.canary else reader.settled(parts.settled, parts.settings.emissions_lookback_h)
    return RoundFacts(row, known, responses, scored, settled, reader.narrative(), tuple(reader.missing))


class _Reader:
    """Reads the tables of one challenge; `missing` says what could not be read."""

    def __init__(self, tables: Tables, row: InboxRow, canary: bool) -> None:
        self._tables, self._row = tables, row
        self._key = TableKey.of(row.id, row.received_at)
        self._scores = ScoreTables(tables, CANARIES if canary else IN_USE)
        self.missing: list[Missing] = []

    def responses(self) -> tuple[Response, ...]:
        found = self._read(ANSWERS, lambda: self._table("miner_responses", responses_of))
        if found is None:
            self._lack(ANSWERS, gone=self._row.asked > 0)
        return found or ()

    def scored(self, paying: ScoringProfile) -> dict[str, Scored]:
        profiles = (paying, *(profile_of(name) for name in PROFILES if name != paying.name))
        found = {each.name: self._read(SCORES, partial(self._of, each)) for each in profiles}
        there = {name: scored for name, scored in found.items() if scored is not None}
        if not there:
            done = self._row.scored_at is not None and self._row.state is not ChallengeState.FAILED
            self._lack(SCORES, gone=done)
        elif paying.name not in there:
            said = f"PAY_PROFILE is {paying.name} now, and it was scored by {next(iter(there))} alone"
            self.missing.append(Missing(f"scores by {paying.name}", said))
        return there

    def settled(self, rounds: SettledRounds, lookback_h: float) -> SettledRound | None:
        row = self._row
        return self._read("settled pay", lambda: rounds.of(row.id, row.received_at, lookback_h))

    def narrative(self) -> Told | None:
        return self._read("narrative", lambda: self._table("narratives", _told))

    def _of(self, profile: ScoringProfile) -> Scored | None:
        rows = self._scores.newest_rows(self._key, profile)
        if rows is None or rows.is_empty():
            return None
        version = str(rows["scorer_version"][0])
        pairs = self._scores.pairs_of(TableKey(self._key.day, self._key.name, version))
        if pairs is None:
            why = "their table is gone or broken, so that nothing can be said of votes, nor why anybody was paid"
            self.missing.append(Missing(f"pairs under {profile.name}", why, broken=True))
        described = self._scores.described(version) or {}
        scores = scores_of(rows, pl.DataFrame(schema=PAIRS) if pairs is None else pairs)
        return Scored(scores, _profile(described), described, pairs is not None)

    def _table(self, asset: str, made: Callable[[pl.DataFrame], T]) -> T | None:
        return made(self._tables.read(asset, self._key)) if self._tables.exists(asset, self._key) else None

    def _read(self, what: str, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except UNREADABLE as error:
            logger.warning("%s of challenge %r cannot be read: %s", what, self._row.id, said_of(error))
            self.missing.append(Missing(what, said_of(error), broken=True))
            return None

    def _lack(self, what: str, *, gone: bool) -> None:
        """Say why something is not there, unless that was said; `gone`: it has been there."""
        if any(each.what == what for each in self.missing):
            return
        if gone:
            why = "their table is gone: it was deleted, or TABLES_DIR (or LOOSH_HOME) names another place than before"
        else:
            why = NOT_YET.get(self._row.state, "none were stored")
        if any(each.why == why for each in self.missing):  # neither answers nor scores, for one reason
            return
        self.missing.append(Missing(what, why, broken=gone))


def said_of(error: Exception) -> str:
    """What a table's failure says to whoever reads a page."""
    if isinstance(error, KeyError):
        return f"its table lacks {error}: another release wrote it"
    return str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"


def _told(frame: pl.DataFrame) -> Told:
    row = frame.row(0, named=True)
    return Told(row["text"], row["source"])


def _profile(described: Mapping[str, Any]) -> ScoringProfile | None:
    if not described:
        return None
    try:
        return profile_with(described["profile"], json.loads(described["parameters"]))
    except (ValueError, OverflowError):  # of another release
        return None


def answer_of(parts: Parts, row: InboxRow, hotkey: Hotkey) -> Response | None:
    """What one miner answered; None when it was not asked. Raises StoreError like `Tables.read`."""
    rows = parts.tables.read("miner_responses", TableKey.of(row.id, row.received_at))
    found = responses_of(rows.filter(pl.col("hotkey") == hotkey))
    return found[0] if found else None

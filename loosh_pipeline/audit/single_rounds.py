"""Single rounds in full: what was asked, what the miner said, and why that was paid what it was paid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from loosh_pipeline.audit.judged import known_degree
from loosh_pipeline.audit.receipt import RoundSaid, Shown
from loosh_pipeline.audit.rounds_said import MinerWindow, own_histories
from loosh_pipeline.domain import ChallengeId, Hotkey, ScorerVersion
from loosh_pipeline.errors import StoreError, UnknownChallenge
from loosh_pipeline.scoring.explain import explain
from loosh_pipeline.scoring.explanation import Explanation
from loosh_pipeline.scoring.pairs import Pair, PairHistory
from loosh_pipeline.scoring.window import SettledScore, Settlement
from loosh_pipeline.store.frames import RESPONSES
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_frames import SETTLED
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.wire.text import printable

PROMPT_CHARS = 400
ANSWER_CHARS = 600
DETAIL_CHARS = 200
TAB = 4
"""Columns of a tab in an answer."""


class ShownRounds:
    """Reads rounds of a miner's window in full, each when it is asked for."""

    def __init__(self, tables: Tables, inbox: Inbox, window: MinerWindow | None, emissions: TableKey | None) -> None:
        self._tables, self._inbox, self._window, self._emissions = tables, inbox, window, emissions
        self._histories: dict[Pair, PairHistory] | None = None

    def shown(self, why: str, said: RoundSaid) -> Shown:
        assert self._window is not None, "there are rounds only of a window"
        miner = self._window.miner
        answered = _responses(self._tables, miner, [said]).get(said.challenge_id, {})
        explanation, digest, unexplained = self._explained(said)
        return Shown(
            why=why,
            round=said,
            prompt=self._prompt(said),
            answer=passage(answered.get("text") or "", ANSWER_CHARS),
            answer_sha256=answered.get("sha256") or "",
            detail=excerpt(answered.get("detail") or "", DETAIL_CHARS),
            context_digest=digest,
            explanation=explanation,
            said=() if explanation is None else tuple(printable(each, 400) for each in explanation.text().split("\n")),
            unexplained=unexplained,
        )

    def _explained(self, said: RoundSaid) -> tuple[Explanation | None, str, str]:
        """The explanation, the digest of the round's context, and why there is no explanation."""
        assert self._window is not None
        key = TableKey.of(said.challenge_id, said.at)
        try:
            scored = ScoreTables(self._tables).read(key, ScorerVersion(said.scorer_version))
        except StoreError as error:
            return None, "", f"its rows are gone: {error}"
        try:
            settlement = None if self._window.settled is None else self._settlement(said)
            found = explain(scored, self._window.miner, settlement, self._window.profile)
        except ValueError as error:
            return None, scored.context_digest, str(error)
        return found, scored.context_digest, ""

    def _settlement(self, said: RoundSaid) -> Settlement:
        """The round as the window settled it, with what is known of the pairs of its miners."""
        window = self._window
        assert window is not None and window.settled is not None  # noqa: PT018
        if self._histories is None:
            known: dict[Pair, PairHistory] = {
                (each.first, each.second): known_degree(each.degree, each.rounds, each.same_address, each.same_coldkey)
                for each in window.sources
            }
            self._histories = known | own_histories(window)
        rows = window.settled.filter(pl.col("challenge_id") == said.challenge_id).select(*SETTLED)
        scores = tuple(SettledScore(**row | {"sources": tuple(row["sources"])}) for row in rows.to_dicts())
        return Settlement(scores, self._histories)

    def _prompt(self, said: RoundSaid) -> str:
        try:
            row = self._inbox.get(ChallengeId(said.challenge_id))
        except UnknownChallenge:
            return ""
        return passage(row.challenge().prompt, PROMPT_CHARS)


def excerpt(text: str, most: int) -> str:
    """Words of strangers in one line, cut, without control characters or such as turn the direction of reading."""
    return printable(" ".join(text[: 4 * most].split()), most)


def passage(text: str, most: int) -> str:
    """The same with its lines as they were, as code has to be read: `most` characters of it, what is blank around it
    left out.
    """
    said = text[: 4 * most].strip("\r\n").rstrip()
    lines = (printable(line.rstrip().expandtabs(TAB), most) for line in said[:most].splitlines())
    return "\n".join(lines) + ("…" if len(said) > most else "")


def details_of(tables: Tables, miner: Hotkey, rounds: Sequence[RoundSaid]) -> dict[str, str]:
    """What was seen of failed asks, by challenge; nothing of those whose responses are not kept any more."""
    found = _responses(tables, miner, rounds)
    return {challenge: excerpt(row.get("detail") or "", DETAIL_CHARS) for challenge, row in found.items()}


def _responses(tables: Tables, miner: Hotkey, rounds: Iterable[RoundSaid]) -> dict[str, Mapping[str, str]]:
    """The row of the miner in each round, of those that are kept."""
    found: dict[str, Mapping[str, str]] = {}
    for each in rounds:
        key = TableKey.of(each.challenge_id, each.at)
        if tables.exists("miner_responses", key):
            rows = tables.read("miner_responses", key)
            mine = rows.select([name for name in RESPONSES if name in rows.columns]).filter(pl.col("hotkey") == miner)
            found.update((each.challenge_id, row) for row in mine.to_dicts())
    return found

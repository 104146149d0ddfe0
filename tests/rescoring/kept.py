"""Stored rounds of one day, and scoring them again."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from loosh_pipeline.devnet.stored_rounds import Sample, StoredChallenge, insert_rows
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.rounds import Found, StoredRound, of_day
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables
from tests.builders import NOON

DIGEST = HashingEmbedder().digest
ROBUST, TRIED = profile_of("robust"), profile_of("robust", {"power": 5.0})
DAY: date = NOON.date()


def keep(tables: Tables, inbox: Inbox, drawn: list[Sample], names: list[str]) -> list[StoredChallenge]:
    """As files of their own, in the order given."""
    rounds = [
        StoredChallenge(n, ChallengeId(name), NOON + timedelta(seconds=n), drawn[n % len(drawn)])
        for n, name in enumerate(names)
    ]
    insert_rows(inbox.engine, rounds)
    for each in rounds:
        tables.write("miner_responses", each.key, each.responses())
        tables.write("embeddings", each.key, each.vectors())
    return rounds


def rescored(tmp_path: Path, tables: Tables, inbox: Inbox, profile: ScoringProfile, processes: int) -> list[Rescored]:
    found = list(Rescoring(str(tmp_path / "tables"), profile, ROBUST, processes).run(of_day(tables, inbox, DAY)))
    assert all(isinstance(each, Rescored) for each in found), found
    return [each for each in found if isinstance(each, Rescored)]


def stored_rounds(tables: Tables, inbox: Inbox) -> list[StoredRound]:
    return [each.round for batch in of_day(tables, inbox, DAY) for each in batch if isinstance(each, Found)]

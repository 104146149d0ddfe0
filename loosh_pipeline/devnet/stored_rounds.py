"""Many stored challenges made of a few real ones, for benchmarks of what reads them again.

Some dozens of rounds are made once: prompts of the answer book, seven answers of some 200 words, and the vectors of the
built-in embedding model. Every further challenge is one of these again under an id, miners, addresses and times of its
own. So texts and vectors are real, a round's cost is that of a real one, and only few of them differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import polars as pl
from bittensor_core import Keypair
from sqlalchemy import Engine

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.domain import ChallengeId, ChallengeState, Coldkey, Hotkey, Outcome, Response, Uid
from loosh_pipeline.embedding.port import Embedder
from loosh_pipeline.embedding.round_vectors import embed_round
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.store.accepting import new_row
from loosh_pipeline.store.compaction import whole, write_part
from loosh_pipeline.store.frames import responses_frame
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.vector_frames import to_frame

MINERS = 256
ASKED = 7
SEED = 20_260_203
PART_TABLES = 500
"""As many tables go into a part: 45 MB of vectors."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A round that was really embedded, with its places in place of hotkeys: `0` to `6`."""

    prompt: str
    responses: pl.DataFrame
    vectors: pl.DataFrame


@dataclass(frozen=True, eq=False)
class StoredChallenge:
    """One made challenge; its tables are made when they are asked for, as many are large."""

    number: int
    id: ChallengeId
    received_at: datetime
    sample: Sample
    always: tuple[int, ...] = ()

    @property
    def key(self) -> TableKey:
        return TableKey.of(self.id, self.received_at)

    @property
    def request(self) -> Mapping[str, Any]:
        return ChallengeRequest(id=self.id, prompt=self.sample.prompt).stored(self.received_at)

    def responses(self) -> pl.DataFrame:
        draw, uids = Random(f"{SEED} {self.number} times"), self._uids()
        rows = self.sample.responses
        return rows.with_columns(
            challenge_id=pl.lit(self.id),
            hotkey=pl.Series(list(self._hotkeys().values())),
            coldkey=pl.Series([f"5Cold{uid:043d}" for uid in uids]),
            uid=pl.Series(uids, dtype=pl.Int32),
            ip=pl.Series([f"11.0.{uid // 250}.{uid % 250 + 1}" for uid in uids]),
            elapsed_ms=pl.Series([draw.lognormvariate(8.0, 0.4) for _ in uids]),
            asked_at=pl.lit(self.received_at).cast(rows.schema["asked_at"]),
        )

    def vectors(self) -> pl.DataFrame:
        hotkeys = pl.col("hotkey").replace_strict({**self._hotkeys(), "": ""})
        return self.sample.vectors.with_columns(challenge_id=pl.lit(self.id), hotkey=hotkeys)

    def _uids(self) -> list[int]:
        """In the order of their hotkeys, as vectors lie."""
        others = [uid for uid in range(MINERS) if uid not in self.always]
        drawn = Random(f"{SEED} {self.number} miners").sample(others, self.sample.responses.height - len(self.always))
        return sorted([*self.always, *drawn], key=hotkey_of)

    def _hotkeys(self) -> dict[str, str]:
        """By place in the sample."""
        return {str(place): hotkey_of(uid) for place, uid in enumerate(self._uids())}


@cache
def hotkey_of(uid: int) -> Hotkey:
    """A real address, whose private key nobody has."""
    return Hotkey(Keypair(public_key=(uid + 1).to_bytes(32, "big")).ss58_address)


def samples(embedder: Embedder, count: int, asked: int = ASKED) -> list[Sample]:
    """So many rounds, embedded; the same ones every time."""
    prompts = AnswerBook.load().prompts
    return [_sample(embedder, prompts[number % len(prompts)], number, asked) for number in range(count)]


def _sample(embedder: Embedder, prompt: str, number: int, asked: int) -> Sample:
    draw = Random(f"{SEED} {number}")
    responses = [_response(place, essay(prompt, draw), draw) for place in range(asked)]
    vectors = embed_round(embedder, ChallengeId("sample"), prompt, responses)
    frame = responses_frame(responses, asked_at=None, metagraph_block=1)
    return Sample(prompt, frame, to_frame(vectors))


def _response(place: int, text: str, draw: Random) -> Response:
    return Response(
        ChallengeId("sample"),
        hotkey=Hotkey(str(place)),
        coldkey=Coldkey(str(place)),
        uid=Uid(place),
        ip="",
        port=9000,
        outcome=Outcome.ANSWERED,
        text=text,
        elapsed_ms=draw.lognormvariate(8.0, 0.4),
    )


def made(
    drawn: Sequence[Sample], numbers: range, start: datetime, apart: timedelta, always: tuple[int, ...] = ()
) -> Iterator[StoredChallenge]:
    """The challenges of these numbers, `apart` from one another. `always`: uids that are asked in each."""
    for number in numbers:
        name = f"{Random(f'{SEED} {number} name').getrandbits(128):032x}"
        yield StoredChallenge(number, ChallengeId(name), start + number * apart, drawn[number % len(drawn)], always)


def store(tables: Tables, engine: Engine, rounds: Iterable[StoredChallenge]) -> list[ChallengeId]:
    """Keep challenges as a validator has them some days later: rows of the inbox that are told and done with, and
    compacted tables. Returns the ids.
    """
    kept: list[ChallengeId] = []
    by_day: dict[date, list[StoredChallenge]] = {}
    for each in sorted(rounds, key=lambda each: each.key.file):
        by_day.setdefault(each.key.day, []).append(each)
    for day, of_day in by_day.items():
        for start in range(0, len(of_day), PART_TABLES):
            part = of_day[start : start + PART_TABLES]
            now = datetime.now(UTC)
            write_part(tables, "miner_responses", day, (whole(each.key, each.responses()) for each in part), now)
            write_part(tables, "embeddings", day, (whole(each.key, each.vectors()) for each in part), now)
            insert_rows(engine, part)
            kept += [each.id for each in part]
    return kept


def insert_rows(engine: Engine, rounds: Sequence[StoredChallenge]) -> None:
    """Their rows in an inbox."""
    with engine.begin() as connection:
        connection.execute(challenges.insert(), [_row(each) for each in rounds])


def _row(each: StoredChallenge) -> dict[str, object]:
    done = {"state": ChallengeState.SUBMITTED, "next_run_at": None, "scored_at": each.received_at}
    return new_row(each.id, each.request, each.received_at) | done | {"asked": each.sample.responses.height}

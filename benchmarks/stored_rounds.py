"""Many stored challenges made of a few real ones, for benchmarks of what reads them again.

Some dozens of rounds are made once: prompts of the answer book, seven answers of some 200 words, and the vectors of the
built-in embedding model. Every further challenge is one of these again under an id, miners, addresses and times of its
own. So texts and vectors are real, a round's cost is that of a real one, and only few of them differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import polars as pl
from sqlalchemy import Engine

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.devnet.essays import essay
from loosh_pipeline.domain import ChallengeId, ChallengeState, Coldkey, Hotkey, Outcome, Response, Uid
from loosh_pipeline.embedding.port import Embedder
from loosh_pipeline.embedding.round_vectors import embed_round, to_frame
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.store.frames import responses_frame
from loosh_pipeline.store.inbox import new_row
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.store.tables import TableKey, Tables

MINERS = 256
ASKED = 7
SEED = 20_260_203
ROWS_AT_ONCE = 500


@dataclass(frozen=True, eq=False)
class Sample:
    """A round that was really embedded, with its places in place of hotkeys: `0` to `6`."""

    prompt: str
    responses: pl.DataFrame
    vectors: pl.DataFrame


@dataclass(frozen=True, eq=False)
class StoredChallenge:
    """One made challenge: where its tables lie, its request, and the tables."""

    id: ChallengeId
    received_at: datetime
    request: dict[str, object]
    responses: pl.DataFrame
    vectors: pl.DataFrame

    @property
    def key(self) -> TableKey:
        return TableKey.of(self.id, self.received_at)


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


def made(drawn: Sequence[Sample], numbers: range, start: datetime, apart: timedelta) -> Iterator[StoredChallenge]:
    """The challenges of these numbers, `apart` from one another."""
    for number in numbers:
        yield _made(drawn[number % len(drawn)], number, start + number * apart)


def _made(sample: Sample, number: int, received_at: datetime) -> StoredChallenge:
    draw = Random(f"{SEED} {number} miners")
    name = f"{draw.getrandbits(128):032x}"
    places = sample.responses["hotkey"].to_list()
    uids = draw.sample(range(MINERS), len(places))
    hotkeys = {place: f"5Made{uid:043d}" for place, uid in zip(places, uids, strict=True)}
    responses = sample.responses.with_columns(
        challenge_id=pl.lit(name),
        hotkey=pl.col("hotkey").replace_strict(hotkeys),
        coldkey=pl.Series([f"5Cold{uid:043d}" for uid in uids]),
        uid=pl.Series(uids, dtype=pl.Int32),
        ip=pl.Series([f"11.0.{uid // 250}.{uid % 250 + 1}" for uid in uids]),
        elapsed_ms=pl.Series([draw.lognormvariate(8.0, 0.4) for _ in uids]),
        asked_at=pl.lit(received_at).cast(sample.responses.schema["asked_at"]),
    )
    vectors = sample.vectors.with_columns(
        challenge_id=pl.lit(name), hotkey=pl.col("hotkey").replace_strict({**hotkeys, "": ""})
    )
    request = ChallengeRequest(id=name, prompt=sample.prompt).stored(received_at)
    return StoredChallenge(ChallengeId(name), received_at, request, responses, vectors)


def store(tables: Tables, engine: Engine, rounds: Iterator[StoredChallenge]) -> list[ChallengeId]:
    """Keep challenges as the validator would: the inbox's rows, told and done with, and the tables. Returns the ids."""
    kept: list[ChallengeId] = []
    rows: list[dict[str, object]] = []
    for each in rounds:
        tables.write("miner_responses", each.key, each.responses)
        tables.write("embeddings", each.key, each.vectors)
        kept.append(each.id)
        rows.append(_row(each))
        if len(rows) == ROWS_AT_ONCE:
            _insert(engine, rows)
            rows = []
    _insert(engine, rows)
    return kept


def _row(each: StoredChallenge) -> dict[str, object]:
    done = {"state": ChallengeState.SUBMITTED, "next_run_at": None, "scored_at": each.received_at}
    return new_row(each.id, each.request, each.received_at) | done | {"asked": each.responses.height}


def _insert(engine: Engine, rows: list[dict[str, object]]) -> None:
    if rows:
        with engine.begin() as connection:
            connection.execute(challenges.insert(), rows)

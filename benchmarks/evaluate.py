"""How long the evaluation of one challenge takes: `python -m benchmarks.evaluate --miners 10,50,200 [--json]`.

Both backends are measured in turns, so that a noisy machine disturbs both alike, and medians are given. The last
line with `--json` is one object: seconds by number of miners and backend, and `meta`. Answers are made of the devnet's
own sentences about one prompt, two at a time with the end of one after the beginning of another, until they have
about 200 words: on topic, and no two alike, as embedding each different text once would otherwise be too easy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, cast, get_args

import polars as pl

from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.domain import ChallengeId, Coldkey, Hotkey, Outcome, Response, Uid
from loosh_pipeline.embedding.load import Backend, load_model
from loosh_pipeline.embedding.model import BUILTIN
from loosh_pipeline.embedding.port import Embedder, Rows, ServableEmbedder
from loosh_pipeline.embedding.round_vectors import embed_round, texts_of, unpack
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.score import score
from loosh_pipeline.scoring.text import sentences
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.score_frames import pairs_frame, scores_frame
from loosh_pipeline.store.vector_frames import from_frame, to_frame

SEED = 20_260_101
ANSWER_WORDS = 200
PROFILE = RobustProfile()
RECEIVED_AT = datetime(2026, 1, 1, tzinfo=UTC)
PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "numpy", "scikit-learn", "scipy", "polars")


@dataclass(frozen=True, slots=True)
class Case:
    """One challenge with an answer of every miner."""

    id: ChallengeId
    prompt: str
    responses: tuple[Response, ...]


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one evaluation took: embedding, all of it, and what is not embedding."""

    embed_s: float
    total_s: float
    other_s: float


class TimedEmbedder:
    """Passes on to an embedder, and counts the seconds that it takes."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.seconds = 0.0

    @property
    def digest(self) -> str:
        return self._embedder.digest

    @property
    def dim(self) -> int:
        return self._embedder.dim

    def embed(self, texts: Sequence[str]) -> Rows:
        started_s = time.perf_counter()
        rows = self._embedder.embed(texts)
        self.seconds += time.perf_counter() - started_s
        return rows


def evaluate(embedder: Embedder, case: Case) -> pl.DataFrame:
    """Everything between the answers of a round and the tables of its scores and pairs, under the default profile.

    The network's own measure is part of it, as it is of every evaluation.
    """
    stored = to_frame(embed_round(embedder, case.id, case.prompt, case.responses))
    vectors = from_frame(stored)
    context = ScoringContext.empty(vectors.vectors.shape[1])
    result = score(unpack(vectors, case.prompt, case.responses), context, PROFILE, vectors.model_digest)
    pairs_frame(result, RECEIVED_AT)
    return scores_frame(result, RECEIVED_AT)


def made_case(miners: int, book: AnswerBook) -> Case:
    """A round of `miners` answers to one prompt of the book; the same ones every time."""
    draw = random.Random(f"{SEED} {miners}")
    prompt = book.prompts[0]
    known = [sentence for model in book.models for sentence in sentences(book.answer(model, prompt))]
    challenge = ChallengeId(f"benchmark-{miners}")
    answers = [made_answer(known, draw) for _ in range(miners)]
    return Case(challenge, prompt, tuple(_response(challenge, i, text) for i, text in enumerate(answers)))


def made_answer(known: Sequence[str], draw: random.Random) -> str:
    made: list[str] = []
    while sum(len(sentence.split()) for sentence in made) < ANSWER_WORDS:
        head, tail = (each.split() for each in draw.sample(known, 2))
        share = draw.uniform(0.3, 0.7)
        made.append(" ".join([*head[: round(share * len(head))], *tail[round(share * len(tail)) :]]))
    return " ".join(sentence[0].upper() + sentence[1:].rstrip(".!?:;,") + "." for sentence in made)


def _response(challenge: ChallengeId, i: int, text: str) -> Response:
    return Response(
        challenge_id=challenge,
        hotkey=Hotkey(f"hotkey-{i:03}"),
        coldkey=Coldkey(f"coldkey-{i:03}"),
        uid=Uid(i),
        ip=f"10.0.{i // 250}.{i % 250 + 1}",
        port=9000,
        outcome=Outcome.ANSWERED,
        text=text,
        elapsed_ms=1000.0 + i,
    )


def measured(embedder: Embedder, case: Case) -> Seconds:
    timed = TimedEmbedder(embedder)
    started_s = time.perf_counter()
    scores = evaluate(timed, case)
    total_s = time.perf_counter() - started_s
    if scores["payout"].max() is None or scores.height != len(case.responses):
        raise SystemExit(f"the round of {len(case.responses)} miners was not scored: {scores}")
    return Seconds(timed.seconds, total_s, total_s - timed.seconds)


def run(embedders: dict[Backend, ServableEmbedder], cases: dict[int, Case], repeat: int) -> dict[str, Any]:
    """Medians by number of miners and backend; every other turn the backends are taken in the opposite order."""
    for embedder in embedders.values():
        evaluate(embedder, cases[min(cases)])
    taken: dict[tuple[int, Backend], list[Seconds]] = {}
    for turn in range(repeat):
        for miners, case in cases.items():
            for backend in list(embedders)[:: -1 if turn % 2 else 1]:
                taken.setdefault((miners, backend), []).append(measured(embedders[backend], case))
                _tell(f"turn {turn + 1} of {repeat}: {miners} miners, {backend}, {taken[miners, backend][-1]}")
    return {str(miners): {backend: _medians(taken[miners, backend]) for backend in embedders} for miners in cases}


def _medians(taken: Iterable[Seconds]) -> dict[str, float]:
    rows = [asdict(each) for each in taken]
    return {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}


def about(case: Case, embedder: ServableEmbedder) -> dict[str, Any]:
    """How much there is to embed in a round."""
    texts = list(dict.fromkeys(row.text for row in texts_of(case.prompt, case.responses)))
    words = statistics.median(len(response.text.split()) for response in case.responses)
    return {"texts": len(texts), "tokens": embedder.count_tokens(texts), "words_an_answer": words}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_table(figures: dict[str, Any], meta: dict[str, Any]) -> None:
    print(f"{'miners':>6}  {'backend':8}{'embed_s':>10}{'other_s':>10}{'total_s':>10}")
    for miners, by_backend in figures.items():
        for backend, row in by_backend.items():
            print(f"{miners:>6}  {backend:8}{row['embed_s']:10.3f}{row['other_s']:10.3f}{row['total_s']:10.3f}")
    for name, value in meta.items():
        print(f"{name}: {value}")


def main() -> None:
    settings = get_settings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--miners", default="10,50,200", help="numbers of miners, separated by commas")
    parser.add_argument("--backends", default="torch,onnx", help="torch, onnx or both")
    parser.add_argument("--repeat", type=int, default=5, help="evaluations that a median is taken of")
    parser.add_argument("--threads", type=int, default=settings.embedder_threads)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    chosen = parser.parse_args()
    backends = cast(list[Backend], [name for name in chosen.backends.split(",") if name in get_args(Backend)])
    load_before = os.getloadavg()
    embedders = {name: load_model(BUILTIN, name, chosen.threads, settings.models_root) for name in backends}
    book = AnswerBook.load()
    cases = {int(count): made_case(int(count), book) for count in chosen.miners.split(",")}
    figures = run(embedders, cases, chosen.repeat)
    meta = {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "cpus": os.cpu_count(),
        "threads": chosen.threads,
        "repeat": chosen.repeat,
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "to_embed": {str(count): about(case, next(iter(embedders.values()))) for count, case in cases.items()},
    }
    _print_table(figures, meta)
    if chosen.json:
        print(json.dumps({**figures, "meta": meta}))


if __name__ == "__main__":
    main()

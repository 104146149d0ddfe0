"""What the embedder process embeds a second: `python -m benchmarks.embedding [--quick] [--json]`.

A real embedder process with the built-in model is asked for the texts of challenges (ten answers of 200 words each,
with their windows and sentences, no two alike) by 1, 4 and 16 clients at once, a client taking the next challenge when
it has the last one's vectors. `alone` is the same model in this process, one challenge after the other. All are taken
in turns, so that a noisy machine disturbs all alike; figures are medians of the rounds. `f16_bytes_differ` counts the
texts whose stored bytes differ between what was embedded together and alone. The last line with `--json` is one object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.evaluate import made_answer
from loosh_pipeline.devnet.answers import AnswerBook
from loosh_pipeline.domain import ChallengeId, Coldkey, Hotkey, Outcome, Response, Uid
from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.load import load_model
from loosh_pipeline.embedding.model import BUILTIN
from loosh_pipeline.embedding.port import Rows, ServableEmbedder
from loosh_pipeline.embedding.round_vectors import STORED, texts_of
from loosh_pipeline.scoring.text import sentences
from loosh_pipeline.settings import get_settings
from loosh_pipeline.supervisor import Service, free_ports, supervised

ANSWERS = 10
AT_ONCE = (1, 4, 16)
TIMEOUT_S = 300.0
SEED = 20_260_102

Embed = Callable[[Sequence[str]], Rows]


def made_challenges(count: int) -> list[list[str]]:
    """The texts to embed of so many challenges; the same ones every time."""
    book = AnswerBook.load()
    made: list[list[str]] = []
    for number in range(count):
        draw = random.Random(f"{SEED} {number}")
        prompt = book.prompts[number % len(book.prompts)]
        known = [each for model in book.models for each in sentences(book.answer(model, prompt))]
        answers = [_response(i, made_answer(known, draw)) for i in range(ANSWERS)]
        made.append(list(dict.fromkeys(row.text for row in texts_of(prompt, answers))))
    return made


def _response(i: int, text: str) -> Response:
    about = {"uid": Uid(i), "ip": "10.0.0.1", "port": 9000, "elapsed_ms": 1.0}
    hotkey, coldkey = Hotkey(f"hotkey-{i}"), Coldkey(f"coldkey-{i}")
    return Response(ChallengeId("c"), hotkey=hotkey, coldkey=coldkey, outcome=Outcome.ANSWERED, text=text, **about)


def seconds(challenges: Sequence[Sequence[str]], embed: Embed, at_once: int) -> tuple[float, list[Rows]]:
    """How long all challenges take with so many asked at once, and their vectors."""
    started_s = time.perf_counter()
    with ThreadPoolExecutor(at_once) as clients:
        rows = list(clients.map(embed, challenges))
    return time.perf_counter() - started_s, rows


def measure(count: int, rounds: int, threads: int) -> dict[str, Any]:
    """The figures. Raises LooshError when the embedder does not start."""
    settings = get_settings()
    challenges = made_challenges(count)
    local: ServableEmbedder = load_model(BUILTIN, "auto", threads, settings.models_root)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "loosh_pipeline.embedding", "--port", str(port), "--threads", str(threads)]
    command += ["--nice", "0"]  # as this process
    environment = {**settings.environment(), "EMBEDDING_MODEL": BUILTIN}
    taken: dict[str, list[float]] = {}
    differ = 0
    with (
        tempfile.TemporaryDirectory(prefix="loosh-embedding-") as folder,
        supervised([Service("embedder", command, environment, port)], Path(folder), _tell),
        HttpEmbedder(f"http://127.0.0.1:{port}", TIMEOUT_S) as remote,
    ):
        ways: dict[str, tuple[Embed, int]] = {"alone": (local.embed, 1)}
        ways |= {f"at_once_{n}": (remote.embed, n) for n in AT_ONCE}
        for embed, _ in ways.values():
            embed(challenges[0])
        for turn in range(rounds):
            vectors: dict[str, list[Rows]] = {}
            for name in list(ways)[:: -1 if turn % 2 else 1]:
                embed, at_once = ways[name]
                taken_s, vectors[name] = seconds(challenges, embed, at_once)
                taken.setdefault(name, []).append(taken_s)
                _tell(f"round {turn + 1} of {rounds}: {name} {taken_s:.2f} s")
            differ += sum(_differing(vectors["alone"], vectors[f"at_once_{n}"]) for n in AT_ONCE)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    texts, tokens = sum(map(len, challenges)), sum(map(local.count_tokens, challenges))
    return {
        "challenges": count,
        "texts": texts,
        "tokens": tokens,
        **{f"{name}_texts_per_s": round(texts / value, 1) for name, value in medians.items()},
        **{f"{name}_tokens_per_s": round(tokens / value, 1) for name, value in medians.items()},
        "challenges_per_hour": round(3600 * count / medians[f"at_once_{AT_ONCE[-1]}"]),
        "speedup_16_over_1": round(medians["at_once_1"] / medians["at_once_16"], 3),
        "f16_bytes_differ": differ,
    }


def _differing(some: Sequence[Rows], others: Sequence[Rows]) -> int:
    pairs = zip(some, others, strict=True)
    return int(sum((a.astype(STORED) != b.astype(STORED)).any(axis=1).sum() for a, b in pairs))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--challenges", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=get_settings().embedder_threads)
    parser.add_argument("--quick", action="store_true", help="three rounds of 16 challenges")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    chosen = parser.parse_args()
    load_before = os.getloadavg()
    figures = measure(*((16, 3) if chosen.quick else (chosen.challenges, chosen.rounds)), chosen.threads)
    meta = {"quick": chosen.quick, "threads": chosen.threads, "cpus": os.cpu_count()}
    meta |= {"load_before": load_before[0], "load_after": os.getloadavg()[0]}
    for name, value in {**figures, **meta}.items():
        print(f"{name:>24}  {value}")
    if chosen.json:
        print(json.dumps({**figures, **meta}))


if __name__ == "__main__":
    main()

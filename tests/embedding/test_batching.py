"""Which texts are run together and in which order, with a model that runs a batch only when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from loosh_pipeline.embedding.batching import PREPARED_AT_ONCE, TURN_TOKENS, Batcher, Job
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.port import Piece, Rows
from loosh_pipeline.errors import EmbedderError

WITHIN_S = 10.0


class Gated(HashingEmbedder):
    """Notes each batch and waits until it is let through; `poison` in a text fails, `death` ends the thread."""

    def __init__(self, batch_tokens: int = 8) -> None:
        super().__init__(16)
        self.batch_tokens = batch_tokens
        self.batches: list[list[str]] = []
        self.running = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.works = True

    def run(self, pieces: Sequence[Piece]) -> Rows:
        texts = [piece.content for piece in pieces]
        self.batches.append(texts)
        self.running.release()
        assert self.allowed.acquire(timeout=WITHIN_S)
        return self.embed(texts)

    def embed(self, texts: Sequence[str]) -> Rows:
        if not self.works or any("poison" in text for text in texts):
            raise RuntimeError("bad text")
        if any("death" in text for text in texts):
            raise SystemExit("gone")
        return super().embed(texts)

    def prepare(self, texts: Sequence[str]) -> list[Piece]:
        if any("unreadable" in text for text in texts):
            raise ValueError("no tokens")
        return super().prepare(texts)

    def wait_running(self) -> None:
        assert self.running.acquire(timeout=WITHIN_S)

    def let(self, batches: int) -> None:
        for _ in range(batches):
            self.allowed.release()


Started = Callable[[Gated], Batcher]


@pytest.fixture
def started() -> Iterator[Started]:
    running: list[tuple[Gated, Batcher]] = []

    def start(model: Gated) -> Batcher:
        running.append((model, Batcher(model, gather_s=0.0)))
        return running[-1][1]

    yield start
    for model, batcher in running:
        model.let(10_000)
        batcher.stop()


def result(job: Job) -> tuple[Rows, int]:
    return job.done.result(WITHIN_S)


def held_up(batcher: Batcher, model: Gated) -> Job:
    """A first request that is being run, so that what comes after it waits."""
    first = batcher.submit(["first"])
    model.wait_running()
    return first


def test_requests_that_wait_are_run_together_and_told_apart_again(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    first = held_up(batcher, model)
    jobs = [batcher.submit([f"one{i} two", f"red{i} sky"]) for i in range(3)]
    model.let(100)
    for i, job in enumerate(jobs):
        rows, tokens = result(job)
        assert rows == pytest.approx(HashingEmbedder(16).embed([f"one{i} two", f"red{i} sky"]))
        assert tokens == 4
    result(first)
    assert [len(batch) for batch in model.batches] == [1, 4, 2], "eight tokens a batch, whoever asked"


def test_a_text_of_several_requests_is_run_once_also_while_it_is_run(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    first = held_up(batcher, model)
    again = batcher.submit(["first", "sky", "first"])
    other = batcher.submit(["sky"])
    model.let(100)
    rows, tokens = result(again)
    assert rows == pytest.approx(HashingEmbedder(16).embed(["first", "sky", "first"]))
    assert tokens == 3
    assert result(other)[0] == pytest.approx(HashingEmbedder(16).embed(["sky"]))
    result(first)
    assert model.batches == [["first"], ["sky"]]


def test_a_batch_is_of_one_width_and_the_widest_come_first(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    held_up(batcher, model)
    job = batcher.submit(["a", "b c d", "e f", "g h i", "j", "k l m n o p q r s t"])
    model.let(100)
    result(job)
    assert model.batches[1:] == [["k l m n o p q r s t"], ["b c d", "g h i"], ["e f"], ["a", "j"]]


def test_a_long_request_gives_way_after_its_turn(started: Started) -> None:
    width = 64
    model = Gated(batch_tokens=width)
    batcher = started(model)
    turn = TURN_TOKENS // width
    long = batcher.submit([" ".join([f"w{i}"] * width) for i in range(4 * turn)])
    model.wait_running()
    small = batcher.submit(["a small one"])
    model.let(2 * turn)
    assert result(small)[0].shape == (1, 16)
    assert long.missing >= 2 * turn
    model.let(4 * turn)
    result(long)


def test_new_requests_do_not_starve_a_long_one(started: Started) -> None:
    width = 64
    model = Gated(batch_tokens=width)
    batcher = started(model)
    turn = TURN_TOKENS // width

    def texts(name: str, count: int) -> list[str]:
        return [" ".join([f"{name}{i}"] * width) for i in range(count)]

    long = batcher.submit(texts("long", 2 * turn))
    model.wait_running()
    others = [batcher.submit(texts(f"n{i}x", turn)) for i in range(6)]
    model.let(8 * turn)
    result(long)
    for job in others:
        result(job)
    of_long = [at for at, batch in enumerate(model.batches) if batch[0].startswith("long")]
    assert len(of_long) == 2 * turn
    late = batcher.submit(["late"])
    model.let(1)
    result(late)


def test_what_a_client_that_left_asked_for_is_not_run(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    first = held_up(batcher, model)
    left = batcher.submit(["nobody wants this", "shared"])
    stays = batcher.submit(["shared"])
    batcher.drop(left)
    assert batcher.waiting() == (2, 2, len("first") + len("shared"))
    model.let(100)
    result(stays)
    result(first)
    assert model.batches == [["first"], ["shared"]]
    batcher.drop(stays)  # once answered, it changes nothing


@pytest.mark.parametrize("bad", ["poison", "unreadable"])
def test_a_text_that_fails_fails_its_own_request_only(started: Started, bad: str) -> None:
    model = Gated()
    batcher = started(model)
    held_up(batcher, model)
    good, failing, also_good = batcher.submit(["sky"]), batcher.submit(["red", bad]), batcher.submit(["blue"])
    model.let(100)
    assert result(good)[0].shape == result(also_good)[0].shape == (1, 16)
    with pytest.raises(EmbedderError, match=f"a text of {len(bad)} characters could not be embedded: "):
        result(failing)
    assert not batcher.broken.done()
    assert batcher.waiting() == (0, 0, 0)


def test_a_text_whose_client_left_before_its_batch_failed_can_be_asked_for_again(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    left = batcher.submit(["sky", "red", "poison"])
    model.wait_running()
    assert len(model.batches[0]) == 3
    batcher.drop(left)
    model.let(100)
    for _ in range(2):
        assert result(batcher.submit(["sky"]))[0] == pytest.approx(HashingEmbedder(16).embed(["sky"]))
    with pytest.raises(EmbedderError, match="could not be embedded"):
        result(batcher.submit(["poison"]))
    assert batcher.waiting() == (0, 0, 0)


def test_a_thread_that_ends_fails_what_waits_and_what_comes(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    first = held_up(batcher, model)
    doomed, waiting = batcher.submit(["death"]), batcher.submit(["a b c d e f g h"])
    model.let(100)
    result(first)
    assert "gone" in str(batcher.broken.exception(WITHIN_S))
    with pytest.raises(EmbedderError, match=r"thread ended: SystemExit\('gone'\)"):
        result(doomed)
    assert waiting.done.done()
    with pytest.raises(EmbedderError, match="is stopping"):
        batcher.submit(["sky"])


def test_a_model_that_embeds_nothing_any_more_is_broken(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    model.works = False
    job = batcher.submit(["sky"])
    model.let(10)
    with pytest.raises(EmbedderError, match="thread ended: RuntimeError"):
        result(job)
    assert batcher.broken.exception(WITHIN_S) is not None


def test_stopping_fails_what_waits(started: Started) -> None:
    model = Gated()
    batcher = started(model)
    first = held_up(batcher, model)
    waiting = batcher.submit(["later"])
    stopping = threading.Thread(target=batcher.stop)
    stopping.start()
    model.let(1)
    stopping.join(WITHIN_S)
    assert result(first)[0].shape == (1, 16)
    with pytest.raises(EmbedderError, match="was stopped"):
        result(waiting)


def test_many_at_once_all_get_their_own(started: Started) -> None:
    model = Gated(batch_tokens=32)
    model.let(100_000)
    batcher = started(model)
    draw = np.random.default_rng(0)
    asked = [
        [" ".join(f"w{n}" for n in draw.integers(0, 9, draw.integers(1, 6))) for _ in range(200)] for _ in range(12)
    ]
    assert len(asked[0]) > PREPARED_AT_ONCE
    found: list[Any] = [None] * len(asked)

    def ask(i: int) -> None:
        found[i] = result(batcher.submit(asked[i]))[0]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    for part, rows in zip(asked, found, strict=True):
        assert np.abs(rows - HashingEmbedder(16).embed(part)).max() < 1e-6
    assert batcher.waiting() == (0, 0, 0)

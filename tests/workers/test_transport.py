"""Messages as files: whole or not there, taken once, and still there when whoever took one is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection

from loosh_pipeline.settings import FILES_BROKER
from loosh_pipeline.workers.transport import put_back

QUEUE = "dagster"


def connection(folder: Path) -> Connection:
    return Connection(FILES_BROKER, transport_options={"folder": str(folder)})


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Any]:
    with connection(tmp_path) as opened:
        yield opened.default_channel


def send(channel: Any, *bodies: str) -> None:
    for body in bodies:
        channel.basic_publish(channel.prepare_message(body), "", QUEUE)


def files(folder: Path) -> dict[str, int]:
    return {name: len(os.listdir(folder / name)) for name in ("waiting", "claimed", "broken")}


def test_nobody_is_told_that_files_have_no_host(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with connection(tmp_path) as opened:
        opened.clone().connect()
    assert caplog.text == ""


def test_messages_are_taken_once_and_in_order(channel: Any, tmp_path: Path) -> None:
    send(channel, "first", "second")
    taken = [channel.basic_get(QUEUE) for _ in range(2)]
    assert [message.decode() for message in taken] == ["first", "second"]
    assert channel.basic_get(QUEUE) is None
    for message in taken:
        message.ack()
    assert files(tmp_path) == {"waiting": 0, "claimed": 0, "broken": 0}


def test_what_was_taken_and_not_acknowledged_comes_again(channel: Any, tmp_path: Path) -> None:
    send(channel, "one", "two")
    channel.basic_get(QUEUE)
    assert files(tmp_path) == {"waiting": 1, "claimed": 1, "broken": 0}
    assert put_back(tmp_path, QUEUE) == 1
    assert [channel.basic_get(QUEUE).decode() for _ in range(2)] == ["one", "two"], "it keeps its place"


def test_what_another_queues_worker_has_taken_stays_with_it(channel: Any, tmp_path: Path) -> None:
    send(channel, "one")
    channel.basic_get(QUEUE)
    assert put_back(tmp_path, "another") == 0
    assert files(tmp_path) == {"waiting": 0, "claimed": 1, "broken": 0}


def test_a_closed_connection_leaves_what_it_took_to_be_put_back(tmp_path: Path) -> None:
    with connection(tmp_path) as opened:
        send(opened.default_channel, "one")
        opened.default_channel.basic_get(QUEUE)
    assert files(tmp_path) == {"waiting": 0, "claimed": 1, "broken": 0}


def test_a_message_that_is_given_back_waits_once(channel: Any, tmp_path: Path) -> None:
    send(channel, "one")
    channel.basic_get(QUEUE).requeue()
    assert files(tmp_path) == {"waiting": 1, "claimed": 0, "broken": 0}
    assert channel.basic_get(QUEUE).decode() == "one"


def test_one_that_is_refused_is_gone(channel: Any, tmp_path: Path) -> None:
    send(channel, "one")
    channel.basic_get(QUEUE).reject()
    assert files(tmp_path) == {"waiting": 0, "claimed": 0, "broken": 0}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", json.dumps({"body": "x"}).encode()])
def test_what_cannot_be_read_is_kept_apart_and_holds_up_nothing(channel: Any, tmp_path: Path, content: bytes) -> None:
    send(channel, "good")
    (tmp_path / "waiting" / f"0-broken.{QUEUE}.json").write_bytes(content)
    assert channel.basic_get(QUEUE).decode() == "good"
    assert files(tmp_path)["broken"] == 1


def test_half_a_message_and_other_queues_are_not_looked_at(channel: Any, tmp_path: Path) -> None:
    (tmp_path / "waiting" / f".0-half.{QUEUE}.json").write_bytes(b'{"bo')
    send(channel, "good")
    with pytest.raises(Empty):
        channel._get("another")
    assert (channel._size(QUEUE), channel.basic_get(QUEUE).decode()) == (1, "good")


def test_purging_leaves_other_queues(channel: Any) -> None:
    send(channel, "one", "two")
    channel.basic_publish(channel.prepare_message("other"), "", "another")
    assert (channel.queue_purge(QUEUE), channel._size("another")) == (2, 1)


def produce(folder: Path, name: int, count: int) -> None:
    with connection(folder) as opened:
        send(opened.default_channel, *(f"{name}-{number}" for number in range(count)))


def consume(folder: Path, found: Any, total: Any) -> None:
    with connection(folder) as opened:
        while total.value > 0:
            if (message := opened.default_channel.basic_get(QUEUE)) is not None:
                found.put(message.decode())
                message.ack()
                with total.get_lock():
                    total.value -= 1


def test_nothing_is_lost_or_doubled_between_two_producers_and_two_consumers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    count = 150
    found, left = context.Queue(), context.Value("i", 2 * count)
    workers = [context.Process(target=produce, args=(tmp_path, name, count)) for name in range(2)]
    workers += [context.Process(target=consume, args=(tmp_path, found, left)) for _ in range(2)]
    for worker in workers:
        worker.start()
    received = [found.get(timeout=60) for _ in range(2 * count)]
    for worker in workers:
        worker.join(30)
    assert sorted(received) == sorted(f"{name}-{number}" for name in range(2) for number in range(count))
    assert files(tmp_path) == {"waiting": 0, "claimed": 0, "broken": 0}


def take_and_hang(folder: Path, taken: Any) -> None:
    with connection(folder) as opened:
        opened.default_channel.basic_get(QUEUE)
        taken.set()
        signal.pause()


def test_what_a_killed_consumer_had_taken_comes_again(channel: Any, tmp_path: Path) -> None:
    send(channel, "one")
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    victim = context.Process(target=take_and_hang, args=(tmp_path, taken))
    victim.start()
    assert taken.wait(60)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(30)
    assert channel.basic_get(QUEUE) is None
    assert put_back(tmp_path, QUEUE) == 1
    assert channel.basic_get(QUEUE).decode() == "one"

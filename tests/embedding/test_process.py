"""The embedder as a process: its socket, its signals and its end; a model of its own makes it start at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.listening import unix_listener
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.supervisor import free_ports

WITHIN_S = 60.0
PROGRAM = """
import sys, time
from loosh_pipeline.embedding import __main__ as program
from loosh_pipeline.embedding.fake import HashingEmbedder

class Model(HashingEmbedder):
    def run(self, pieces):
        if any("death" in piece.content for piece in pieces):
            raise SystemExit("gone")
        if any("slow" in piece.content for piece in pieces):
            open(pieces[0].content.split()[1], "w").close()
            time.sleep(0.5)
        return super().run(pieces)

dim = int(sys.argv.pop(1))
program.load_model = lambda *_: Model(dim)
sys.exit(program.main())
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: object, dim: int = 16) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(dim), *map(str, arguments)]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


# httpcore leaves a unix socket that it cannot connect to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_unix_socket_is_its_owners_and_a_killed_servers_is_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "new" / "e.sock"
    first = start("--uds", path)
    with HttpEmbedder(f"unix://{path}", WITHIN_S) as remote:
        assert remote.embed(["sky"]) == pytest.approx(HashingEmbedder(16).embed(["sky"]))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        first.kill()
        first.wait()
        assert path.exists(), "what a killed server leaves"
        second = start("--uds", path)
        assert remote.embed(["red"]) == pytest.approx(HashingEmbedder(16).embed(["red"]))
    second.send_signal(signal.SIGTERM)
    second.wait(WITHIN_S)
    assert not path.exists()


def test_a_socket_in_use_or_a_file_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    with (
        unix_listener(path),
        pytest.raises(ConfigError, match=r"an embedder listens on .*e\.sock already"),
        unix_listener(path),
    ):
        pass
    assert not path.exists()
    path.write_text("somebody's")
    with pytest.raises(ConfigError, match="is there and no socket"), unix_listener(path):
        pass
    path.unlink()
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        with pytest.raises(ConfigError, match="another server listens on"), unix_listener(path):
            pass
    with pytest.raises(ConfigError, match="cannot listen on the unix socket"), unix_listener(tmp_path / ("x" * 200)):
        pass


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not path.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_client_outlives_a_killed_server_also_in_mid_request(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    first = start("--port", port)
    with HttpEmbedder(f"http://127.0.0.1:{port}", WITHIN_S) as remote:
        remote.embed(["sky"])
        asked = threading.Thread(target=remote.embed, args=([f"slow {tmp_path}/running"],))
        asked.start()
        wait_for(tmp_path / "running")
        first.kill()
        first.wait()
        start("--port", port)
        asked.join(WITHIN_S)
        assert remote.embed(["red"]) == pytest.approx(HashingEmbedder(16).embed(["red"]))
        assert not remote.stale


def test_sigterm_lets_what_was_asked_end(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    process = start("--port", port, "--nice", 3)
    with HttpEmbedder(f"http://127.0.0.1:{port}", WITHIN_S) as remote:
        remote.embed(["sky"])
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 3
        found: list[int] = []
        asked = threading.Thread(target=lambda: found.append(len(remote.embed([f"slow {tmp_path}/running"]))))
        asked.start()
        wait_for(tmp_path / "running")
        process.send_signal(signal.SIGTERM)
        asked.join(WITHIN_S)
        assert found == [1]
    assert process.wait(WITHIN_S) == 0


def test_a_process_whose_model_thread_ended_ends_with_the_reason(start: Start) -> None:
    (port,) = free_ports(1)
    process = start("--port", port)
    url = f"http://127.0.0.1:{port}"
    with HttpEmbedder(url, WITHIN_S) as remote:
        remote.embed(["sky"])
    reply = httpx.post(f"{url}/v1/embeddings", json={"input": "death"}, timeout=WITHIN_S, trust_env=False)
    assert reply.status_code == 503
    assert process.wait(WITHIN_S) == 1
    assert "the embedder ends: the embedder's thread ended: SystemExit('gone')" in process.communicate()[1]


def _embed_in_child(remote: HttpEmbedder, told: multiprocessing.SimpleQueue[object]) -> None:
    told.put(remote.embed(["of the child"]).tolist())


def test_a_forked_child_uses_a_socket_of_its_own(hashing_url: str) -> None:
    ports: set[int] = set()
    with HttpEmbedder(hashing_url, WITHIN_S) as remote:
        remote.embed(["of the parent"])
        context = multiprocessing.get_context("fork")
        told = context.SimpleQueue()
        child = context.Process(target=_embed_in_child, args=(remote, told))
        child.start()
        ports.add(_port(remote))
        assert told.get() == HashingEmbedder().embed(["of the child"]).tolist()
        child.join(WITHIN_S)
        remote.embed(["of the parent again"])
        ports.add(_port(remote))
    assert len(ports) == 1, "the parent's connection was left alone"


def _port(remote: HttpEmbedder) -> int:
    (connection,) = remote._http._transport._pool.connections  # type: ignore[attr-defined]
    stream = connection._connection._network_stream
    return int(stream.get_extra_info("client_addr")[1])

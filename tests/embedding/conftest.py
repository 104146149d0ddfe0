from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.model import MiniLmEmbedder, load_model
from loosh_pipeline.embedding.server import create_app


@pytest.fixture(scope="session")
def model() -> MiniLmEmbedder:
    """The real model, loaded once."""
    return load_model(threads=2)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an app that a real server serves on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive()


Serve = Callable[[FastAPI], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that serves an app for the length of a test."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(served(app))


@pytest.fixture(scope="module")
def hashing_url() -> Iterator[str]:
    """A server of the test double, its model loaded."""
    app = create_app(HashingEmbedder)
    with served(app) as url:
        loading = app.state.worker.loading
        assert loading is not None
        loading.result(timeout=10)
        yield url

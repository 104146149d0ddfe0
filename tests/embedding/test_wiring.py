"""Which embedder the assets get, and which process is started, for what EMBEDDING_MODEL and EMBEDDER_URL say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.onnx_model import OnnxEmbedder
from loosh_pipeline.embedding.server import create_app
from loosh_pipeline.embedding.torch_model import TorchEmbedder
from loosh_pipeline.errors import EmbedderError, ModelError
from loosh_pipeline.services import environment, services, write_instance
from loosh_pipeline.settings import UNSET, Settings, get_settings
from resources.embedder import KEPT, RUN_WAITS_S, embedder_resource
from tests.embedding.conftest import Serve

TEXTS = ["the sky is blue", "trains run on rails"]


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    KEPT.close()


def plain_server(key: str) -> FastAPI:
    """An embedding server of OpenAI's shape without anything of ours: two models, plain numbers, a key."""
    app = FastAPI()

    def refusal(request: Request) -> JSONResponse | None:
        if request.headers.get("Authorization") == f"Bearer {key}":
            return None
        return JSONResponse({"error": {"message": "wrong key"}}, 401)

    @app.get("/v1/models", response_model=None)
    def models(request: Request) -> Any:
        return refusal(request) or {"object": "list", "data": [{"id": "chat"}, {"id": "embed"}]}

    @app.post("/v1/embeddings", response_model=None)
    async def embeddings(request: Request) -> Any:
        asked = await request.json()
        if refused := refusal(request):
            return refused
        if asked["model"] != "embed":
            return JSONResponse({"error": {"message": "chat does not embed"}}, 400)
        rows = HashingEmbedder(16).embed(asked["input"])
        return {"data": [{"index": i, "embedding": row.tolist()} for i, row in enumerate(rows)], "model": "embed"}

    return app


def embedded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[np.ndarray, str]:
    """Vectors and digest that an asset gets under these settings."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with dg.build_resources({"embedder": embedder_resource}) as resources:
        return resources.embedder.embed(TEXTS), resources.embedder.digest


def test_a_server_of_ours_may_be_the_model(
    serve: Serve, onnx_model: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(create_app(lambda: onnx_model))
    rows, digest = embedded(monkeypatch, EMBEDDING_MODEL=url, EMBEDDER_URL="http://127.0.0.1:1/")
    assert np.abs(rows - onnx_model.embed(TEXTS)).max() < 1e-6
    assert digest == onnx_model.digest


def test_a_foreign_server_may_be_the_model(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve(plain_server("hunter2"))
    about = {"EMBEDDING_MODEL": f"{url}/v1", "EMBEDDING_MODEL_NAME": "embed", "EMBEDDING_API_KEY": "hunter2"}
    rows, digest = embedded(monkeypatch, **about)
    assert rows == pytest.approx(HashingEmbedder(16).embed(TEXTS))
    with HttpEmbedder(url, model="embed", api_key="hunter2") as direct:
        assert digest == direct.digest


def test_a_wrong_key_or_model_is_told_in_the_servers_words(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve(plain_server("hunter2"))
    with pytest.raises(EmbedderError, match=r"answered 401 to /models: .*wrong key"):
        embedded(monkeypatch, EMBEDDING_MODEL=url, EMBEDDING_MODEL_NAME="embed", EMBEDDING_API_KEY="hunter3")
    with pytest.raises(EmbedderError, match=r"answered 400 to /embeddings: .*chat does not embed"):
        embedded(monkeypatch, EMBEDDING_MODEL_NAME="chat", EMBEDDING_API_KEY="hunter2")


def test_without_a_server_the_model_runs_in_the_process(
    export: Path, model: TorchEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, digest = embedded(monkeypatch, MODELS_DIR=str(export.parent), EMBEDDER_BACKEND="onnx")
    assert np.abs(rows - model.embed(TEXTS)).max() < 1e-5
    assert digest == model.digest


def test_a_directory_is_the_model_of_the_process(
    model_copy: Path, model: TorchEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, digest = embedded(monkeypatch, EMBEDDING_MODEL=str(model_copy), EMBEDDER_BACKEND="torch")
    assert (rows == model.embed(TEXTS)).all()
    assert digest != model.digest


def test_a_directory_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="there is no directory /nowhere"):
        embedded(monkeypatch, EMBEDDING_MODEL="/nowhere")


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ({}, True),
        ({"embedding_model": "/models/all-mpnet-base-v2"}, True),
        ({"embedding_model": "http://e:1/v1"}, False),
        ({"embedder_url": "http://e:1"}, False),
    ],
)
def test_an_embedder_of_our_own_is_started_when_it_has_something_to_do(given: dict[str, str], started: bool) -> None:
    assert ("embedder" in [service.name for service in services(Settings(**given))]) is started


def test_every_process_is_told_of_the_model(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment(Settings(embedding_model="m"), own_home)["EMBEDDING_MODEL"] == str(tmp_path / "m")
    assert environment(Settings(), own_home)["EMBEDDING_MODEL"] == "builtin"
    foreign = environment(Settings(embedding_model="http://e/v1", embedding_api_key="k"), own_home)
    assert (foreign["EMBEDDING_MODEL"], foreign["EMBEDDING_API_KEY"]) == ("http://e/v1", "k")
    assert foreign["EMBEDDER_URL"] == UNSET, "nothing listens where our own embedder would"


def test_runs_of_one_process_share_a_client_until_it_fails(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    app = create_app(HashingEmbedder)

    @app.middleware("http")
    async def note(request: Request, go_on: Any) -> Any:
        asked.append(request.url.path)
        return await go_on(request)

    url = serve(app)
    for _ in range(3):
        rows, _digest = embedded(monkeypatch, EMBEDDER_URL=url)
        assert rows == pytest.approx(HashingEmbedder().embed(TEXTS))
    assert asked[-3:] == ["/v1/embeddings"] * 3, "the model is asked about once"
    kept = KEPT.for_run(get_settings())
    assert KEPT.for_run(get_settings()) is kept
    with pytest.raises(EmbedderError):
        kept.embed(["x" * 2_000_000])
    assert KEPT.for_run(get_settings()) is not kept


@pytest.mark.parametrize("name", ["EMBEDDER_URL", "EMBEDDING_MODEL"])
def test_a_run_waits_its_turn_longer_than_a_minute_but_less_than_it_may_last(
    name: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []
    make = HttpEmbedder.__init__

    def noted(self: HttpEmbedder, base_url: str, timeout_s: float = 0.0, **named: Any) -> None:
        waits_s.append(timeout_s)
        make(self, base_url, timeout_s, **named)

    monkeypatch.setattr(HttpEmbedder, "__init__", noted)
    KEPT.for_run(Settings(**{name.lower(): "http://127.0.0.1:1/v1"}))
    write_instance(own_home, Settings(challenge_timeout_s=0.001))
    may_last_s = yaml.safe_load((own_home / "dagster.yaml").read_text())["run_monitoring"]["max_runtime_seconds"]
    assert waits_s == [RUN_WAITS_S]
    assert 60.0 < RUN_WAITS_S < may_last_s


WORKER = """
import sys
import dagster as dg
import loosh_pipeline.definitions
from resources.embedder import embedder_resource
with dg.build_resources({"embedder": embedder_resource}) as resources:
    assert resources.embedder.embed(["sky"]).shape == (1, 384)
heavy = ("torch", "transformers", "sentence_transformers", "tokenizers", "onnxruntime", "sklearn", "altair", "pandas")
print([name for name in heavy if name in sys.modules])
"""


def test_a_worker_that_is_told_of_an_embedder_loads_no_model(hashing_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what draws and clusters, which are loaded by the step that needs them."""
    monkeypatch.setenv("EMBEDDER_URL", hashing_url)
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr

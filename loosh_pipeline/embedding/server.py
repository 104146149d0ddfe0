"""The embedder process: one warm model behind OpenAI's `/v1/embeddings`.

One thread runs the model, so that requests queue instead of fighting over cores, and the event loop stays free.
What a client may ask is bounded; a refusal is an HTTP error in OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from loosh_pipeline.embedding.port import Rows, ServableEmbedder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may carry, and how many may wait for the model."""

    texts: int = 2048
    chars: int = 1_000_000
    waiting: int = 64

    @property
    def body_bytes(self) -> int:
        # JSON writes a character in at most 12 bytes (an escaped surrogate pair), and quotes every text
        return 12 * self.chars + 8 * self.texts + 4096


class EmbeddingRequest(BaseModel):
    """The body of `/v1/embeddings`. Token arrays are not offered: tokens are the model's own affair."""

    model_config = ConfigDict(extra="ignore")

    input: str | list[str]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class Refusal(Exception):
    """A request that is answered with an error of OpenAI's shape."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    def response(self) -> JSONResponse:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, status_code=self.status)


class Worker:
    """The model and the one thread that runs it. `start` begins loading; until then and after, `model` refuses."""

    def __init__(self, load: Callable[[], ServableEmbedder], limits: Limits) -> None:
        self._load = load
        self._limits = limits
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._waiting = 0
        self.loading: Future[ServableEmbedder] | None = None

    def start(self) -> None:
        self.loading = self._thread.submit(self._load)

    def stop(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def model(self) -> ServableEmbedder:
        """The loaded model. Raises Refusal: 503 while it loads, 500 with the reason when it could not be."""
        if self.loading is None or not self.loading.done():
            raise Refusal(503, "the model is being loaded; ask again in a few seconds", "model_loading")
        if error := self.loading.exception():
            raise Refusal(500, f"the model could not be loaded: {error}", "model_unusable")
        return self.loading.result()

    async def embed(self, texts: list[str]) -> tuple[Rows, int]:
        """Vectors and token count of texts. Raises Refusal (429) when too many requests already wait."""
        model = self.model()
        if self._waiting >= self._limits.waiting:
            raise Refusal(429, f"{self._waiting} requests already wait for the model; ask again later", "busy")
        self._waiting += 1
        try:
            run = asyncio.get_running_loop().run_in_executor
            return await run(self._thread, lambda: (model.embed(texts), model.count_tokens(texts)))
        finally:
            self._waiting -= 1


def create_app(load: Callable[[], ServableEmbedder], limits: Limits | None = None) -> FastAPI:
    """The embedding server. `load` runs in the worker thread when the server starts."""
    bounds = limits or Limits()
    worker = Worker(load, bounds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.stop()

    app = FastAPI(title="loosh embedder", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.worker = worker
    app.add_exception_handler(Refusal, _refused)
    _add_routes(app, worker, bounds)
    return app


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refusal)
    return refusal.response()


def _add_routes(app: FastAPI, worker: Worker, limits: Limits) -> None:
    async def health() -> dict[str, Any]:
        model = worker.model()
        about = {"model": model.model_id, "digest": model.digest, "dim": model.dim, "backend": model.backend}
        return {"status": "ok", **about}

    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_card(worker.model())]}

    async def embeddings(request: Request) -> JSONResponse:
        asked = checked(await _body(request, limits.body_bytes), worker.model(), limits)
        vectors, tokens = await worker.embed(asked.texts)
        encode = _base64 if asked.encoding_format == "base64" else _floats
        data = [{"object": "embedding", "index": i, "embedding": encode(row)} for i, row in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": worker.model().model_id, "usage": usage})

    app.add_api_route("/health", health, methods=["GET"])
    app.add_api_route("/v1/models", models, methods=["GET"])
    app.add_api_route("/v1/embeddings", embeddings, methods=["POST"], response_model=None)


def checked(body: bytes, model: ServableEmbedder, limits: Limits) -> EmbeddingRequest:
    """The request in a body. Raises Refusal with the reason it cannot be served."""
    try:
        asked = EmbeddingRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = str(first["loc"][0]) if first["loc"] else None
        what = "input must be a string or a list of strings" if where == "input" else first["msg"]
        raise Refusal(400, f"{where or 'body'}: {what}", "invalid_value", where) from error
    if asked.model not in (None, "", model.model_id):
        raise Refusal(
            404, f"there is no model {asked.model!r} here; use {model.model_id!r}", "model_not_found", "model"
        )
    if asked.dimensions not in (None, model.dim):
        raise Refusal(
            400, f"vectors have {model.dim} dimensions, not {asked.dimensions}", "invalid_value", "dimensions"
        )
    if not asked.texts:
        raise Refusal(400, "input is an empty list; give at least one text", "invalid_value", "input")
    if len(asked.texts) > limits.texts:
        raise Refusal(
            400, f"{len(asked.texts)} texts exceed the limit of {limits.texts} a request", "too_many", "input"
        )
    size = sum(map(len, asked.texts))
    if size > limits.chars:
        raise Refusal(413, f"{size} characters exceed the limit of {limits.chars}", "too_large", "input")
    return asked


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise Refusal(413, f"the body exceeds the limit of {limit} bytes", "too_large")
    return bytes(body)


def _card(model: ServableEmbedder) -> dict[str, Any]:
    return {
        "id": model.model_id,
        "object": "model",
        "created": 0,
        "owned_by": "loosh",
        "digest": model.digest,
        "dim": model.dim,
    }


def _base64(row: Rows) -> str:
    return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode("ascii")


def _floats(row: Rows) -> list[float]:
    return [float(value) for value in row]

"""The embedder process: one warm model behind OpenAI's `/v1/embeddings`.

Requests that wait are embedded together, by threads of their own (`batching.py`), so the event loop stays free. What a
client may ask is bounded; a refusal is an HTTP error in OpenAI's shape. Every answer states the digest of the model.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, ValidationError

from loosh_pipeline.embedding.batching import Batcher, Done
from loosh_pipeline.embedding.metrics import EmbedderMetrics
from loosh_pipeline.embedding.port import DIGEST_HEADER, Rows, ServableEmbedder
from loosh_pipeline.errors import EmbedderError

RETRY_AFTER_S = (1, 30)
"""The shortest and longest pause that a refusal asks for."""
CLIENT_GONE = 499
"""Told to nobody: the client has left. The code is nginx's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may carry, and how much may wait for the model: requests, their texts and characters."""

    texts: int = 2048
    chars: int = 1_000_000
    waiting: int = 256
    waiting_texts: int = 32_768
    waiting_chars: int = 8_000_000

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

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.headers = None if retry_after_s is None else {"Retry-After": str(retry_after_s)}

    def response(self) -> JSONResponse:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, status_code=self.status, headers=self.headers)


class Worker:
    """The model, loaded by a thread after `start`, and the batcher that runs it. Until then and after, all refuse.

    `broken` is done, with the reason, when the model could not be loaded or runs no more: the process should end.
    """

    def __init__(self, load: Callable[[], ServableEmbedder], limits: Limits) -> None:
        self._load = load
        self._limits = limits
        self._batcher: Batcher | None = None
        self.loading: Future[ServableEmbedder] | None = None
        self.broken: Future[None] = Future()

    def start(self) -> None:
        self.loading = Future()
        threading.Thread(target=self._work, args=(self.loading,), name="embedder-load", daemon=True).start()

    def _work(self, loading: Future[ServableEmbedder]) -> None:
        try:
            model = self._load()
        except BaseException as error:  # told to whoever asks, and the end of the process
            loading.set_exception(error)
            self.broken.set_exception(error)
            return
        self._batcher = Batcher(model)
        self._batcher.broken.add_done_callback(lambda broken: self.broken.set_exception(broken.exception()))
        loading.set_result(model)

    def stop(self) -> None:
        if self._batcher is not None:
            self._batcher.stop()

    def model(self) -> ServableEmbedder:
        """The model that is ready. Raises Refusal: 503 while it loads or once it broke, 500 when it cannot load."""
        if self.loading is None or not self.loading.done():
            raise Refusal(503, "the model is being loaded; ask again in a few seconds", "model_loading", None, 1)
        if error := self.loading.exception():
            raise Refusal(500, f"the model could not be loaded: {error}", "model_unusable")
        if self.broken.done():
            raise Refusal(503, f"{self.broken.exception()}; the server is ending", "model_broken", None, 1)
        return self.loading.result()

    @property
    def ready(self) -> bool:
        """Whether `model` refuses nothing now."""
        return self._batcher is not None and self.loading is not None and self.loading.done() and not self.broken.done()

    def waiting(self) -> tuple[int, int, int]:
        """Requests that wait for vectors, texts of theirs, and characters."""
        return (0, 0, 0) if self._batcher is None else self._batcher.waiting()

    def done(self) -> Done:
        """What was embedded since the start."""
        return Done() if self._batcher is None else self._batcher.done()

    async def embed(self, texts: list[str], gone: asyncio.Future[None]) -> tuple[Rows, int] | None:
        """Vectors and token count of texts; None when `gone` was done before: nobody wants them any more.

        Raises Refusal: 429 when too much waits already, 500 when a text cannot be embedded.
        """
        self.model()
        assert self._batcher is not None
        self._make_room(self._batcher, texts)
        try:
            job = self._batcher.submit(texts)
        except EmbedderError as error:
            raise Refusal(503, str(error), "stopping", None, 1) from error
        answer = asyncio.wrap_future(job.done)
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        except EmbedderError as error:
            self.model()  # when all is over, that is the better reason
            raise Refusal(500, str(error), "not_embedded", "input") from error
        finally:
            self._batcher.drop(job)
            answer.cancel()

    def _make_room(self, batcher: Batcher, texts: list[str]) -> None:
        requests, waiting, chars = self.waiting()
        limits = self._limits
        if requests < limits.waiting and (
            not requests
            or (waiting + len(texts) <= limits.waiting_texts and chars + sum(map(len, texts)) <= limits.waiting_chars)
        ):
            return
        least, most = RETRY_AFTER_S
        pause_s = min(most, max(least, math.ceil(batcher.seconds_for(chars) / 2)))
        message = f"{requests} requests with {waiting} texts of {chars} characters wait for the model; ask again later"
        raise Refusal(429, message, "busy", None, pause_s)


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

    async def refused(_: Request, refusal: Exception) -> JSONResponse:
        assert isinstance(refusal, Refusal)
        reply = refusal.response()
        if worker.ready:
            reply.headers[DIGEST_HEADER] = worker.model().digest
        return reply

    app.add_exception_handler(Refusal, refused)
    _add_routes(app, worker, bounds)
    return app


def _add_routes(app: FastAPI, worker: Worker, limits: Limits) -> None:
    async def health() -> JSONResponse:
        model = worker.model()
        about = {"model": model.model_id, "digest": model.digest, "dim": model.dim, "backend": model.backend}
        return JSONResponse({"status": "ok", **about}, headers={DIGEST_HEADER: model.digest})

    figures = EmbedderMetrics(worker)

    async def metrics() -> Response:
        return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)

    async def models() -> JSONResponse:
        model = worker.model()
        return JSONResponse({"object": "list", "data": [_card(model)]}, headers={DIGEST_HEADER: model.digest})

    async def embeddings(request: Request) -> Response:
        model = worker.model()
        asked = checked(await _body(request, limits.body_bytes), model, limits)
        gone = asyncio.ensure_future(_gone(request))
        try:
            found = await worker.embed(asked.texts, gone)
        finally:
            gone.cancel()
        if found is None:
            return Response(status_code=CLIENT_GONE)
        body = await asyncio.to_thread(_answer, model, asked, *found)
        return Response(body, media_type="application/json", headers={DIGEST_HEADER: model.digest})

    app.add_api_route("/metrics", metrics, methods=["GET"], response_model=None)
    app.add_api_route("/health", health, methods=["GET"], response_model=None)
    app.add_api_route("/v1/models", models, methods=["GET"], response_model=None)
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


async def _gone(request: Request) -> None:
    """Ends when the client leaves; for a request whose body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(model: ServableEmbedder, asked: EmbeddingRequest, vectors: Rows, tokens: int) -> bytes:
    """The body of an answer, row by row: made in one piece, it would hold up the event loop from any thread."""
    encode = _base64 if asked.encoding_format == "base64" else _floats
    rows = (json.dumps({"object": "embedding", "index": i, "embedding": encode(row)}) for i, row in enumerate(vectors))
    data = ",".join(rows)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    about = json.dumps({"object": "list", "model": model.model_id, "digest": model.digest, "usage": usage})
    return f'{about[:-1]}, "data": [{data}]}}'.encode()


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

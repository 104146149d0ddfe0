"""An embedder reached over HTTP: our own server, or any other that speaks OpenAI's `/v1/embeddings`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np

from loosh_pipeline.embedding.port import Rows
from loosh_pipeline.errors import EmbedderError

REQUEST_TEXTS = 256
REQUEST_CHARS = 200_000
UNIT_TOLERANCE = 1e-3
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
RETRY_S = 0.25


class HttpEmbedder:
    """An `Embedder` that asks `base_url` (with or without `/v1`); safe to share between threads.

    `model` names one of the server's models; without it, its first. A server without a list of models is asked for
    `model` all the same; one that is busy or still loading its model is asked again for up to `timeout_s`. Every
    method raises EmbedderError when the server cannot be reached, does not answer a request within `timeout_s`,
    refuses it, or answers vectors that cannot be used.
    """

    def __init__(
        self, base_url: str, timeout_s: float = 60.0, *, model: str | None = None, api_key: str | None = None
    ) -> None:
        self._url = base_url.rstrip("/").removesuffix("/v1") + "/v1"
        self._model = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._http = httpx.Client(timeout=timeout_s, headers=headers, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def digest(self) -> str:
        """The digest of weights and tokenizer that our own server states; else sha256 over URL and model name.

        The latter tells vectors of different servers and models apart, so that they are not compared. It does not
        show that a server runs the model it names, nor that the model was not replaced under the same name: such
        scores can be computed again from the stored vectors, but the vectors cannot be audited.
        """
        stated = self._card.get("digest")
        return str(stated) if stated else hashlib.sha256(f"{self._url}\n{self.model_id}".encode()).hexdigest()

    @property
    def model_id(self) -> str:
        return str(self._card["id"])

    @cached_property
    def dim(self) -> int:
        stated = self._card.get("dim")
        return int(stated) if isinstance(stated, int) else int(self._ask(["width"]).shape[1])

    def embed(self, texts: Sequence[str]) -> Rows:
        """(n, dim) float32 unit rows in the order of `texts`. A long list goes out as several requests."""
        parts = [self._ask(part) for part in requests_of(texts)]
        rows = np.concatenate([np.zeros((0, self.dim), dtype=np.float32), *self._same_width(parts)])
        lengths = np.linalg.norm(rows, axis=1)
        if not (np.isfinite(rows).all() and (np.abs(lengths - 1) <= UNIT_TOLERANCE).all()):
            raise EmbedderError(
                f"the embedder at {self._url} answered vectors that are not finite and of length 1 "
                f"(lengths {lengths.min():.4g} to {lengths.max():.4g}); use a model that normalises its output"
            )
        return rows

    @cached_property
    def _card(self) -> Mapping[str, Any]:
        reply = self._reply("GET", "/models")
        if reply.status_code == httpx.codes.NOT_FOUND and self._model:
            return {"id": self._model}
        listed = self._content(reply, "/models").get("data")
        cards = [card for card in listed if isinstance(card, dict)] if isinstance(listed, list) else []
        chosen = [card for card in cards if "id" in card and self._model in (None, card["id"])]
        if not chosen:
            known = ", ".join(str(card.get("id")) for card in cards) or "none"
            raise EmbedderError(f"the embedder at {self._url} has no model {self._model!r}; it lists {known}")
        return chosen[0]

    def _ask(self, texts: Sequence[str]) -> Rows:
        body = {"model": self.model_id, "input": list(texts), "encoding_format": "base64"}
        data = self._content(self._reply("POST", "/embeddings", body), "/embeddings").get("data")
        try:
            ordered = sorted(data or [], key=lambda item: item["index"])
            rows = np.array([_decoded(item["embedding"]) for item in ordered], dtype=np.float32)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise EmbedderError(f"the embedder at {self._url} answered no readable embeddings: {error!r}") from error
        if rows.ndim != 2 or len(rows) != len(texts):
            raise EmbedderError(f"the embedder at {self._url} answered {len(rows)} vectors to {len(texts)} texts")
        return rows

    def _same_width(self, parts: Sequence[Rows]) -> Sequence[Rows]:
        for part in parts:
            if part.shape[1] != self.dim:
                raise EmbedderError(
                    f"the embedder at {self._url} answered vectors of width {part.shape[1]} instead of {self.dim}; "
                    "has its model been changed?"
                )
        return parts

    def _reply(self, method: str, path: str, body: Any = None) -> httpx.Response:
        deadline = time.monotonic() + self._timeout_s
        reply = self._request(method, path, body)
        while reply.status_code in BUSY and time.monotonic() + RETRY_S < deadline:
            time.sleep(RETRY_S)
            reply = self._request(method, path, body)
        return reply

    def _content(self, reply: httpx.Response, path: str) -> dict[str, Any]:
        if reply.status_code != httpx.codes.OK:
            raise EmbedderError(
                f"the embedder at {self._url} answered {reply.status_code} to {path}: {reply.text[:300]}"
            )
        try:
            content = reply.json()
        except ValueError as error:
            raise EmbedderError(
                f"the embedder at {self._url} answered no JSON to {path}: {reply.text[:100]!r}"
            ) from error
        if not isinstance(content, dict):
            raise EmbedderError(f"the embedder at {self._url} answered a {type(content).__name__} to {path}")
        return content

    def _request(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            return self._http.request(method, self._url + path, json=body)
        except httpx.TimeoutException as error:
            raise EmbedderError(f"the embedder at {self._url} did not answer within {self._timeout_s} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EmbedderError(
                f"cannot reach the embedder at {self._url}: {error}; is it running, and is the URL right "
                "(EMBEDDER_URL, or EMBEDDING_MODEL where that is one)?"
            ) from error


def requests_of(
    texts: Sequence[str], max_texts: int = REQUEST_TEXTS, max_chars: int = REQUEST_CHARS
) -> Iterator[list[str]]:
    """Consecutive texts grouped within both limits; one longer than `max_chars` goes alone."""
    part: list[str] = []
    size = 0
    for text in texts:
        if part and (len(part) == max_texts or size + len(text) > max_chars):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def _decoded(embedding: str | Sequence[float]) -> Rows:
    """One vector, given as base64 of little-endian float32 or as a list of numbers."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)

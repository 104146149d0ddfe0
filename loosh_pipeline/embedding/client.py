"""An embedder reached over HTTP: our own server, or any other that speaks OpenAI's `/v1/embeddings`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np

from loosh_pipeline.embedding.address import api_root, http_client, socket_path
from loosh_pipeline.embedding.port import DIGEST_HEADER, Rows
from loosh_pipeline.errors import EmbedderError
from loosh_pipeline.redaction import Redactor
from loosh_pipeline.wire.text import is_web_page, printable

REQUEST_TEXTS = 256
REQUEST_CHARS = 200_000
UNIT_TOLERANCE = 1e-3
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
RETRY_S = 0.25
LONGEST_PAUSE_S = 5.0
LEAST_S = 0.01
SAID_CHARS = 300
LOST = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
"""What a server looks like that was stopped, killed or is not up yet. To ask it for vectors twice does no harm."""


class HttpEmbedder:
    """An `Embedder` that asks `base_url`: an HTTP address (with or without `/v1`), or `unix:///path/to/socket`.

    `model` names one of the server's models; without it, its first. A server without a list of models is asked for
    `model` all the same. Connections are kept, and the model is asked for once; use one for many rounds. One that
    cannot be reached, is busy, still loads its model or breaks off is asked again for up to `timeout_s`. Every method
    raises EmbedderError when that does not help, when the server refuses, or answers vectors that cannot be used.

    One is of one model: a server that comes back with another is told by the digest in its answers, and its vectors
    are refused, so that vectors of two models never come together. `stale` is true once a method has raised: a new
    HttpEmbedder asks for the model anew.

    Safe to share between threads, and to take along through a fork: the child makes connections of its own.
    """

    def __init__(
        self, base_url: str, timeout_s: float = 60.0, *, model: str | None = None, api_key: str | None = None
    ) -> None:
        self._shown = base_url.rstrip("/") if socket_path(base_url) else api_root(base_url)
        self._base_url = base_url
        self._root = api_root(base_url)
        self._model = model
        self._redact = Redactor([api_key] if api_key else [])
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._http = http_client(base_url, timeout_s, self._headers)
        self._pid = os.getpid()
        self.stale = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._pid == os.getpid():
            self._http.close()

    @property
    def digest(self) -> str:
        """The digest of weights and tokenizer that our own server states; else sha256 over URL and model name.

        The latter tells vectors of different servers and models apart, so that they are not compared. It does not
        show that a server runs the model it names, nor that the model was not replaced under the same name: such
        scores can be computed again from the stored vectors, but the vectors cannot be audited.
        """
        stated = self._card.get("digest")
        return str(stated) if stated else hashlib.sha256(f"{self._shown}\n{self.model_id}".encode()).hexdigest()

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
            raise self._error(
                "answered vectors that are not finite and of length 1 "
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
            raise self._error(f"has no model {self._model!r}; it lists {known}")
        return chosen[0]

    def _ask(self, texts: Sequence[str]) -> Rows:
        body = {"model": self.model_id, "input": list(texts), "encoding_format": "base64"}
        reply = self._reply("POST", "/embeddings", body)
        content = self._content(reply, "/embeddings")
        self._check_model(content, reply)
        data = content.get("data")
        try:
            ordered = sorted(data or [], key=lambda item: item["index"])
            rows = np.array([_decoded(item["embedding"]) for item in ordered], dtype=np.float32)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise self._error(f"answered no readable embeddings: {error!r}") from error
        if rows.ndim != 2 or len(rows) != len(texts):
            raise self._error(f"answered {len(rows)} vectors to {len(texts)} texts")
        return rows

    def _same_width(self, parts: Sequence[Rows]) -> Sequence[Rows]:
        for part in parts:
            if part.shape[1] != self.dim:
                raise self._error(
                    f"answered vectors of width {part.shape[1]} instead of {self.dim}; has its model been changed?"
                )
        return parts

    def _check_model(self, content: Mapping[str, Any], reply: httpx.Response) -> None:
        """Raises EmbedderError when an answer is of another model than the one asked about at first."""
        known = self._card.get("digest")
        answered = content.get("digest") or reply.headers.get(DIGEST_HEADER)
        if known and answered != known:
            raise self._error(
                f"has another model now: its answer states digest {answered or 'none'}, and it was asked for the one "
                f"with {known}; run it again to have all vectors of the new one"
            )

    def _reply(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """What the server answers in the end. It is asked again while it is not there or busy, and time is left."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            left_s = deadline_s - time.monotonic()
            try:
                reply = self._connected().request(method, self._root + path, json=body, timeout=max(left_s, LEAST_S))
                pause_s = _pause_s(reply) if reply.status_code in BUSY else None
            except LOST as error:
                if time.monotonic() + RETRY_S >= deadline_s:
                    raise self._unreachable(error) from error
                pause_s = RETRY_S
            except httpx.TimeoutException as error:
                raise self._error(f"did not answer within {self._timeout_s} s") from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._unreachable(error) from error
            if pause_s is None or time.monotonic() + pause_s >= deadline_s:
                return reply
            time.sleep(pause_s)

    def _connected(self) -> httpx.Client:
        """The client of this process: a socket shared with the parent would mix up the answers to both."""
        if self._pid != os.getpid():
            self._http, self._pid = http_client(self._base_url, self._timeout_s, self._headers), os.getpid()
        return self._http

    def _content(self, reply: httpx.Response, path: str) -> dict[str, Any]:
        if reply.status_code != httpx.codes.OK:
            raise self._refused(reply, path)
        try:
            content = reply.json()
        except ValueError as error:
            raise self._error(f"answered no JSON to {path}: {self._redact(reply.text)[:100]!r}") from error
        if not isinstance(content, dict):
            raise self._error(f"answered a {type(content).__name__} to {path}")
        return content

    def _refused(self, reply: httpx.Response, path: str) -> EmbedderError:
        """In its own words, where they are in OpenAI's shape."""
        if is_web_page(reply.text):
            return self._error(f"answered a web page (HTTP {reply.status_code}) to {path}")
        said, code = reply.text, ""
        with suppress(ValueError, LookupError, TypeError):
            told = reply.json()["error"]
            said, code = str(told["message"]), str(told.get("code") or "")
        said = printable(" ".join(self._redact(said).split()), SAID_CHARS)
        error = self._error(f"answered {reply.status_code} to {path}: {said}")
        error.code = code
        return error

    def _unreachable(self, error: Exception) -> EmbedderError:
        self.stale = True
        return EmbedderError(
            f"cannot reach the embedder at {self._shown}: {error}; is it running, and is the URL right "
            "(EMBEDDER_URL, or EMBEDDING_MODEL where that is one)?"
        )

    def _error(self, what: str) -> EmbedderError:
        self.stale = True
        return EmbedderError(f"the embedder at {self._shown} {self._redact(what)}")


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


def _pause_s(reply: httpx.Response) -> float:
    """How long a busy server wants to be left alone."""
    asked = reply.headers.get("Retry-After", "")
    return min(LONGEST_PAUSE_S, max(RETRY_S, float(asked))) if asked.isdecimal() else RETRY_S

"""Vectors: from the embedder process, or from a model in this one when none is configured."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property

import dagster as dg

from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.load import load_model
from loosh_pipeline.embedding.port import Embedder, Rows
from loosh_pipeline.settings import Settings, get_settings

RUN_WAITS_S = 240.0
"""How long a run waits for the answer to one request, other attempts at it included.

Every run that may be under way can ask for a round of many miners at once, and the last in line must not fail and ask
again. It is less than any run is given (`max_runtime_seconds`, 300 and more).
"""


class InProcessEmbedder:
    """The model of EMBEDDING_MODEL, loaded when first needed: for inspection with `dagster dev` alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _model(self) -> Embedder:
        chosen = self._settings
        return load_model(chosen.embedding_model, chosen.embedder_backend, chosen.embedder_threads, chosen.models_root)

    @property
    def digest(self) -> str:
        return self._model.digest

    @property
    def dim(self) -> int:
        return self._model.dim

    def embed(self, texts: Sequence[str]) -> Rows:
        return self._model.embed(texts)


class KeptEmbedder:
    """The embedding server's client of this process, kept from run to run with its connections and the model's card.

    One that has raised is replaced before the next run, which so asks for the model anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[Settings, HttpEmbedder] | None = None

    def for_run(self, settings: Settings) -> HttpEmbedder:
        with self._lock:
            if self._kept and (self._kept[0] != settings or self._kept[1].stale):
                self._close()
            if self._kept is None:
                self._kept = settings, _client(settings)
            return self._kept[1]

    def close(self) -> None:
        """Close its connections; the next run makes others."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


KEPT = KeptEmbedder()


@dg.resource(description="The server that EMBEDDING_MODEL or EMBEDDER_URL names, or the model in this process.")
def embedder_resource(_context: dg.InitResourceContext) -> Iterator[Embedder]:
    settings = get_settings()
    if settings.embedding_url is None and settings.embedder_url is None:
        yield InProcessEmbedder(settings)
    else:
        yield KEPT.for_run(settings)


def _client(settings: Settings) -> HttpEmbedder:
    if settings.embedding_url is None:
        return HttpEmbedder(str(settings.embedder_url), RUN_WAITS_S)
    key = settings.embedding_api_key
    return HttpEmbedder(
        settings.embedding_url,
        RUN_WAITS_S,
        model=settings.embedding_model_name,
        api_key=None if key is None else key.get_secret_value(),
    )

"""Vectors: from the embedder process, or from a model in this one when none is configured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import dagster as dg

from loosh_pipeline.embedding.client import HttpEmbedder
from loosh_pipeline.embedding.model import load_model
from loosh_pipeline.embedding.port import Embedder, Rows
from loosh_pipeline.settings import get_settings


class InProcessEmbedder:
    """The built-in model, loaded when first needed: for inspection with `dagster dev` alone."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    @cached_property
    def _model(self) -> Embedder:
        return load_model(self._threads)

    @property
    def digest(self) -> str:
        return self._model.digest

    @property
    def dim(self) -> int:
        return self._model.dim

    def embed(self, texts: Sequence[str]) -> Rows:
        return self._model.embed(texts)


@dg.resource(description="The embedding server at EMBEDDER_URL, or the built-in model in this process.")
def embedder_resource(_context: dg.InitResourceContext) -> Iterator[Embedder]:
    settings = get_settings()
    if settings.embedder_url is None:
        yield InProcessEmbedder(settings.embedder_threads)
        return
    with HttpEmbedder(str(settings.embedder_url)) as embedder:
        yield embedder

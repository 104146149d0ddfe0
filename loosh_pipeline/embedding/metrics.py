"""Figures of the embedder process, in Prometheus' format: what waits, what was done, and which model it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from loosh_pipeline.embedding.server import Worker


class EmbedderMetrics(Collector):
    """Of one worker. Nothing is counted for this: it is what the batcher knows anyway."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        requests, texts, chars = self._worker.waiting()
        done = self._worker.done()
        for name, about, value in (
            ("ready", "1 when the model is loaded and works.", float(self._worker.ready)),
            ("waiting_requests", "Requests that wait for vectors.", requests),
            ("waiting_texts", "Texts of them.", texts),
            ("waiting_characters", "Characters of these texts.", chars),
        ):
            yield GaugeMetricFamily(f"loosh_embedder_{name}", about, value=value)
        for name, about, value in (
            ("batches", "Batches that the model ran.", done.batches),
            ("texts", "Texts that were embedded.", done.texts),
            ("characters", "Characters of these texts.", done.chars),
            ("busy_seconds", "Time in the model, of all threads together.", done.busy_s),
        ):
            yield CounterMetricFamily(f"loosh_embedder_{name}", about, value=value)
        if self._worker.ready:
            model = self._worker.model()
            about_it = {"model": model.model_id, "digest": model.digest, "backend": model.backend}
            yield InfoMetricFamily("loosh_embedder_model", "The model.", value=about_it)

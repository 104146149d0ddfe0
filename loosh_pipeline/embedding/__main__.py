"""`python -m loosh_pipeline.embedding`: run the embedder process."""

from __future__ import annotations

import argparse
import logging
import sys
from concurrent.futures import Future
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from loosh_pipeline.embedding.load import load_model
from loosh_pipeline.embedding.server import create_app
from loosh_pipeline.settings import get_settings


class EmbedderServer(uvicorn.Server):
    """A uvicorn server that ends when the model cannot be loaded, rather than refuse requests for ever."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        app = self.config.app
        if isinstance(app, FastAPI) and app.state.worker.loading is not None:
            app.state.worker.loading.add_done_callback(self._loaded)

    def _loaded(self, loading: Future[Any]) -> None:
        if not loading.cancelled() and loading.exception():
            self.should_exit = True


def main() -> int:
    """Serve until stopped. Exit status 1 when the model could not be loaded."""
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.embedding", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=None, help="EMBEDDER_PORT by default")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; EMBEDDER_THREADS by default")
    chosen = parser.parse_args()
    settings = get_settings()
    port = settings.embedder_port if chosen.port is None else chosen.port
    logging.basicConfig(level=settings.log_level, format="%(levelname)s: %(message)s")
    threads = chosen.threads or settings.embedder_threads
    load = partial(load_model, settings.embedding_model, settings.embedder_backend, threads, settings.models_root)
    app = create_app(load)
    EmbedderServer(uvicorn.Config(app, host=chosen.host, port=port, log_level=settings.log_level.lower())).run()
    loading = app.state.worker.loading
    failed = None if loading is None or loading.cancelled() else loading.exception()
    if failed:
        print(f"embedder: {failed}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

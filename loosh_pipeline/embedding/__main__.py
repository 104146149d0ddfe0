"""`python -m loosh_pipeline.embedding`: run the embedder process."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from loosh_pipeline.embedding.address import KEEP_ALIVE_S
from loosh_pipeline.embedding.listening import unix_listener
from loosh_pipeline.embedding.load import load_model
from loosh_pipeline.embedding.server import create_app
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.logs import configure
from loosh_pipeline.settings import Settings, get_settings

STOPPED_WITHIN_S = 8
"""How long requests are waited for at the end; then they are cut off, and asked again of the next server."""


class EmbedderServer(uvicorn.Server):
    """A uvicorn server that ends when the model cannot be loaded or has broken, rather than refuse for ever."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        app = self.config.app
        if isinstance(app, FastAPI):
            app.state.worker.broken.add_done_callback(self._broken)

    def _broken(self, _: Future[None]) -> None:
        self.should_exit = True


def main() -> int:
    """Serve until stopped. Exit status 1 when the model cannot be loaded or used any more, or nothing listened on."""
    chosen = _arguments()
    settings = get_settings()
    configure(settings, "embedder")
    os.nice(settings.embedder_nice if chosen.nice is None else chosen.nice)
    # uvicorn raises the signal again when it has stopped: without this, the process would die of it before it tidies up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broken = _serve(settings, chosen)
    except ConfigError as error:
        broken = error
    if broken:
        logging.getLogger(__name__).critical("the embedder ends: %s", broken)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loosh_pipeline.embedding", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=None, help="EMBEDDER_PORT by default")
    parser.add_argument("--uds", type=Path, default=None, help="a unix socket's path, in place of host and port")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; EMBEDDER_THREADS by default")
    parser.add_argument("--nice", type=int, choices=range(20), help="yield to others; EMBEDDER_NICE by default")
    return parser.parse_args()


def _serve(settings: Settings, chosen: argparse.Namespace) -> BaseException | None:
    """Serve; what ended it, when it was the model. Raises ConfigError."""
    threads = chosen.threads or settings.embedder_threads
    load = partial(load_model, settings.embedding_model, settings.embedder_backend, threads, settings.models_root)
    app = create_app(load)
    config = uvicorn.Config(
        app,
        host=chosen.host,
        port=settings.embedder_port if chosen.port is None else chosen.port,
        log_config=None,
        log_level=settings.log_level.lower(),
        access_log=settings.log_level == "DEBUG",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOPPED_WITHIN_S,
    )
    with nullcontext() if chosen.uds is None else unix_listener(chosen.uds) as listener:
        if chosen.uds is not None:
            logging.getLogger(__name__).info("listening on %s", chosen.uds)
        EmbedderServer(config).run(sockets=None if listener is None else [listener])
    broken: Future[None] = app.state.worker.broken
    return broken.exception() if broken.done() else None


if __name__ == "__main__":
    sys.exit(main())

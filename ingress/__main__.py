"""`python -m ingress`: serve on API_HOST and API_PORT."""

from __future__ import annotations

import gc
import sys

import uvicorn

from ingress.main import app
from ingress.protocol import BoundedProtocol
from loosh_pipeline.logs import configure
from loosh_pipeline.settings import get_settings

IDLE_S = 15
THREADS_SWITCH_S = 0.0005
"""How long the thread that commits may wait for a busy event loop; Python's own 5 ms are as long as a commit."""
STOP_WITHIN_S = 20


def main() -> None:
    """Serve. Forwarding headers are not believed, no line is logged for every request of a stranger."""
    settings = get_settings()
    configure(settings, "ingress")
    sys.setswitchinterval(THREADS_SWITCH_S)
    gc.collect()
    gc.freeze()  # what was imported stays: looking through it again would stop every request for a tenth of a second
    BoundedProtocol.proxies = settings.trusted_proxies
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        log_level=settings.log_level.lower(),
        http=BoundedProtocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )


if __name__ == "__main__":
    main()

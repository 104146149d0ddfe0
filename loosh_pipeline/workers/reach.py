"""Whether the server that hands out runs can be reached; its address may hold a password, which is never told."""

from __future__ import annotations

from kombu import Connection
from kombu.exceptions import OperationalError

from loosh_pipeline.chain.endpoints import hushed, shown
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import PUBLISH_WITHIN_S


def broker_shown(settings: Settings) -> str:
    """Its address without user and password."""
    return shown(settings.celery_broker_url.get_secret_value())


def broker_problem(settings: Settings) -> str | None:
    """Why it cannot be reached; None when it can."""
    url = settings.celery_broker_url.get_secret_value()
    within = {"socket_connect_timeout": PUBLISH_WITHIN_S, "socket_timeout": PUBLISH_WITHIN_S}
    options = within if url.startswith("redis") else {}
    try:
        with Connection(url, connect_timeout=PUBLISH_WITHIN_S, transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=PUBLISH_WITHIN_S)
    except (OperationalError, OSError, ValueError, LookupError, ImportError) as error:
        return f"cannot be reached: {hushed(str(error), url)}"
    return None

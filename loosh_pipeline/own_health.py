"""Whether the validator that runs here takes challenges, by its own word."""

from __future__ import annotations

import httpx

from loosh_pipeline.errors import ServiceError
from loosh_pipeline.settings import Settings


def unwell(settings: Settings, within_s: float) -> tuple[str, ...]:
    """Why it takes none; empty when it is healthy. Raises ServiceError when its ingress says nothing of its health."""
    try:
        with httpx.Client(timeout=within_s, trust_env=False) as http:
            health = http.get(f"{settings.local_url}/availability/health").json()
        status, reasons = health["status"], tuple(str(each) for each in health["reasons"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ServiceError(f"its ingress says nothing of its health ({type(error).__name__})") from error
    return () if status == "healthy" else reasons or (str(status),)

"""Weights that were set, and what changed."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.pages.page import page_router, show
from ingress.parts import PartsOf
from loosh_pipeline.audit.epochs import epochs

router = page_router()

SHOWN = 50


@router.get("/weights", response_class=HTMLResponse)
def weights(request: Request, parts: PartsOf) -> HTMLResponse:
    """What was submitted to the chain, the newest first."""
    return show(request, "weights.html", {"here": "Weights", "rows": tuple(epochs(parts.inbox.engine, SHOWN))})

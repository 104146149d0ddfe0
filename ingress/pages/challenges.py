"""All challenges, the newest first."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.pages.page import page_router, show
from ingress.pages.shown import without_hidden
from ingress.parts import PartsOf

router = page_router()

A_PAGE = 50


@router.get("/challenges", response_class=HTMLResponse)
def challenges(request: Request, parts: PartsOf) -> HTMLResponse:
    """What was accepted lately, and how far it has come."""
    rows = without_hidden(parts, parts.inbox.recent(A_PAGE))
    return show(request, "challenges.html", {"here": "Challenges", "rows": rows})

"""The first page: how this validator is."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.callers import CALLER
from ingress.pages.page import page_router, show
from ingress.pages.shown import without_hidden
from ingress.parts import Parts, PartsOf
from loosh_pipeline.domain import RESULTS
from loosh_pipeline.store.tables import file_stem

router = page_router()

RECENT = 50
REFUSED = 10


@router.get("/", response_class=HTMLResponse)
def overview(request: Request, parts: PartsOf) -> HTMLResponse:
    """What this validator has accepted lately and how far it has come."""
    rows = without_hidden(parts, parts.inbox.recent(RECENT))
    return show(
        request,
        "overview.html",
        {
            "here": "Overview",
            "reasons": parts.health.reasons(),
            "stats": parts.figures(fresh=parts.rates.exempt(request.scope[CALLER])).inbox,
            "outbox": parts.outbox.undelivered_counts(RESULTS),
            "refused": parts.outbox.refused(REFUSED),
            "rows": rows,
            "pictures": {row.id for row in rows if _has_picture(parts, row.id)},
        },
    )


def _has_picture(parts: Parts, challenge_id: str) -> bool:
    return (parts.settings.heatmaps_root / f"{file_stem(challenge_id)}.png").exists()

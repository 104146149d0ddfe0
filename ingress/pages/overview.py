"""The first page: how this validator is."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.callers import CALLER
from ingress.pages.page import page_router, show
from ingress.parts import Parts, PartsOf
from loosh_pipeline.domain import RESULTS
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.tables import file_stem

router = page_router()

RECENT = 50
REFUSED = 10


@router.get("/", response_class=HTMLResponse)
def overview(request: Request, parts: PartsOf) -> HTMLResponse:
    """What this validator has accepted lately and how far it has come."""
    rows = parts.inbox.recent(RECENT)
    if parts.settings.pages_public:  # a miner may read this, and would learn which questions are the validator's own
        ours = Canaries(parts.inbox.engine).among(row.id for row in rows)
        rows = [row for row in rows if row.id not in ours]
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

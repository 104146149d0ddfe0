"""One challenge with the answers of the miners that were asked."""

from __future__ import annotations

import json

from fastapi import HTTPException, Request, status
from fastapi.responses import HTMLResponse

from ingress.pages.charts import embedded
from ingress.pages.page import page_router, show
from ingress.parts import PartsOf
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.tables import file_stem

router = page_router()


@router.get("/rounds/{challenge_id:path}", response_class=HTMLResponse)
def one(request: Request, challenge_id: str, parts: PartsOf) -> HTMLResponse:
    """What was asked, what was answered, and what each answer was paid."""
    try:
        row = parts.inbox.get(ChallengeId(challenge_id))
    except UnknownChallenge as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
    path = parts.settings.heatmaps_root / f"{file_stem(challenge_id)}.json"
    heatmap = embedded(json.loads(path.read_bytes())) if path.exists() else None
    return show(request, "round.html", {"here": "Challenges", "row": row, "heatmap": heatmap})

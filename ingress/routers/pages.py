"""Pages for people: the overview, and the pictures that the Dagster UI shows."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request, status
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.templating import Jinja2Templates

from ingress.callers import CALLER
from ingress.parts import Parts, PartsOf
from ingress.version import VERSION
from loosh_pipeline.audit.epochs import LATEST
from loosh_pipeline.audit.templates import TEMPLATES
from loosh_pipeline.domain import RESULTS
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.tables import file_stem


def for_the_operator(request: Request, parts: PartsOf) -> None:
    """Refuse strangers, whom prompts and answers are no business of."""
    parts.door.sees(request.headers, request.scope[CALLER])


router = APIRouter(include_in_schema=False, dependencies=[Depends(for_the_operator)])
templates = Jinja2Templates([Path(__file__).parents[1] / "templates", TEMPLATES])
templates.env.filters["quote"] = lambda text: quote(text, safe="")

RECENT = 50
REFUSED = 10


@router.get("/", response_class=HTMLResponse)
def overview(request: Request, parts: PartsOf) -> HTMLResponse:
    """What this validator has accepted lately and how far it has come."""
    rows = parts.inbox.recent(RECENT)
    if parts.settings.pages_public:  # a miner may read this, and would learn which questions are the validator's own
        ours = Canaries(parts.inbox.engine).among(row.id for row in rows)
        rows = [row for row in rows if row.id not in ours]
    return templates.TemplateResponse(
        request,
        "overview.html",
        {
            "version": VERSION,
            "reasons": parts.health.reasons(),
            "stats": parts.figures(fresh=parts.rates.exempt(request.scope[CALLER])).inbox,
            "outbox": parts.outbox.undelivered_counts(RESULTS),
            "refused": parts.outbox.refused(REFUSED),
            "rows": rows,
            "pictures": {row.id for row in rows if _picture(parts, row.id, "png").exists()},
            "dagster_url": str(parts.settings.dagster_url or "").rstrip("/"),
        },
    )


@router.get("/miners", response_class=HTMLResponse)
def miners(request: Request, parts: PartsOf, epoch: str = LATEST) -> HTMLResponse:
    """Who has which weight, and what it was made of."""
    return templates.TemplateResponse(request, "miners.html", {"table": parts.receipts.miners(epoch)})


@router.get("/miners/{miner}", response_class=HTMLResponse)
async def miner_receipt(miner: str, parts: PartsOf, epoch: str = LATEST) -> HTMLResponse:
    """Why one of them has its weight, as `loosh explain` says it."""
    return HTMLResponse(await parts.receipts.page(miner, epoch))


@router.get("/heatmaps/{challenge_id:path}.png")
def heatmap_png(challenge_id: str, parts: PartsOf) -> FileResponse:
    return _file(parts, challenge_id, "png", "image/png")


@router.get("/heatmaps/{challenge_id:path}.json")
def heatmap_spec(challenge_id: str, parts: PartsOf) -> FileResponse:
    return _file(parts, challenge_id, "json", "application/json")


def _picture(parts: Parts, challenge_id: str, kind: str) -> Path:
    return parts.settings.heatmaps_root / f"{file_stem(challenge_id)}.{kind}"


def _file(parts: Parts, challenge_id: str, kind: str, media_type: str) -> FileResponse:
    path = _picture(parts, challenge_id, kind)
    if not path.exists():
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no heatmap of {challenge_id!r} was drawn (yet)")
    return FileResponse(path, media_type=media_type)

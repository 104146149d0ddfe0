"""Pages for people: the overview, and the pictures that the Dagster UI shows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request, Response, status
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.routing import APIRoute
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


class PageRoute(APIRoute):
    """Refusals are pages for whoever prefers those, and JSON for all others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as refusal:
                if not prefers_html(request.headers.get("accept", "")):
                    raise
                about = {"status": HTTPStatus(refusal.status_code), "detail": refusal.detail}
                return templates.TemplateResponse(
                    request, "refusal.html", about, refusal.status_code, headers=refusal.headers
                )

        return handled


def prefers_html(accept: str) -> bool:
    """Whether an Accept header asks for HTML by name, and for JSON less."""
    wanted = {"text/html": 0.0, "application/json": 0.0}
    for each in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        if kind in wanted:
            wanted[kind] = next((_quality(one[2:]) for one in parameters if one.startswith("q=")), 1.0)
    return wanted["text/html"] > wanted["application/json"]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


router = APIRouter(include_in_schema=False, dependencies=[Depends(for_the_operator)], route_class=PageRoute)
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

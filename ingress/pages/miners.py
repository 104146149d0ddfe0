"""Who has which weight, and why."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.pages.page import page_router, show
from ingress.parts import PartsOf
from loosh_pipeline.audit.epochs import LATEST

router = page_router()


@router.get("/miners", response_class=HTMLResponse)
def miners(request: Request, parts: PartsOf, epoch: str = LATEST) -> HTMLResponse:
    """Who has which weight, and what it was made of."""
    return show(request, "miners.html", {"here": "Miners", "table": parts.receipts.miners(epoch)})


@router.get("/miners/{miner}", response_class=HTMLResponse)
async def miner_receipt(miner: str, parts: PartsOf, epoch: str = LATEST) -> HTMLResponse:
    """Why one of them has its weight, as `loosh explain` says it."""
    return HTMLResponse(await parts.receipts.page(miner, epoch))

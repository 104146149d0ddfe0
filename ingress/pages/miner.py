"""One miner in an epoch: its figures, its past, beside another, and its receipt."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, status
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from ingress.pages import comparison_said
from ingress.pages.charts import embedded
from ingress.pages.miner_charts import over_epochs
from ingress.pages.miners import choice
from ingress.pages.page import page_router, show
from ingress.pages.shown import names_rounds
from ingress.parts import Parts, PartsOf
from loosh_pipeline.audit.epochs import LATEST, EpochTables
from loosh_pipeline.audit.miners import MinerLine, Miners
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import UnknownMiner

router = page_router()

PAST = 24
"""Epochs of a miner's history: a day of them."""


@router.get("/miners/{miner}", response_class=HTMLResponse)
def one(
    request: Request,
    miner: str,
    parts: PartsOf,
    epoch: str = LATEST,
    beside: Annotated[str, Query(alias="with")] = "",
) -> HTMLResponse:
    """Why one of them has its weight: all that is known at once; its receipt is fetched by the page."""
    epochs = parts.epochs
    where = epochs.where(epoch)
    hotkey = epochs.named(where, miner)
    found = epochs.miners(where)
    line, past = line_of(found, hotkey), epochs.past(hotkey, where.row, PAST)
    other, unknown = _other(parts, where, found, beside.strip())
    comparison = None if other is None else epochs.compared(where, line, other)
    worths = None if other is None else epochs.worths(where, hotkey, other.hotkey)
    about = {
        "where": where,
        "line": line,
        "before": _beside(found, hotkey, -1),
        "after": _beside(found, hotkey, 1),
        "past": past[::-1],
        "charts": [embedded(each) for each in over_epochs(past)] if len(past) > 1 else [],
        "epochs": choice(epochs, where.row),
        "made_of": epochs.made_of(where.row),
        "groups": {each.name: each for each in found.groups},
        "uids": found.uids,
        "beside": beside,
        "unknown": unknown,
        "other_line": other,
        "comparison": comparison,
        "said": None if comparison is None else comparison_said.said(comparison),
        "worths": worths,
        "widest": worths.widest if worths is not None and names_rounds(parts) else (),
        "behind": None if worths is None else comparison_said.behind(worths),
        "figures": () if worths is None else comparison_said.figures(worths),
    }
    code = status.HTTP_404_NOT_FOUND if unknown else status.HTTP_200_OK
    return show(request, "miner.html", {"here": "Miners", **about}, code)


def _other(parts: Parts, where: EpochTables, found: Miners, beside: str) -> tuple[MinerLine | None, str]:
    """Whom it is compared with, or why that cannot be told: the page stays, so that it can be put right there."""
    if not beside:
        return None, ""
    try:
        return line_of(found, parts.epochs.meant(where, beside)), ""
    except UnknownMiner as error:
        return None, str(error)


def line_of(found: Miners, hotkey: Hotkey) -> MinerLine:
    """Its line; one without anything for who has none, such as a validator."""
    bare = MinerLine(hotkey, found.uids.get(hotkey), 0.0, None, (), "")
    return next((each for each in found.lines if each.hotkey == hotkey), bare)


def _beside(found: Miners, hotkey: Hotkey, step: int) -> MinerLine | None:
    """The next miner by weight, up or down."""
    place = next((k for k, each in enumerate(found.lines) if each.hotkey == hotkey), None)
    if place is None or not 0 <= place + step < len(found.lines):
        return None
    return found.lines[place + step]


@router.get("/miners/{miner}/receipt", response_class=HTMLResponse)
async def receipt(request: Request, miner: str, parts: PartsOf, epoch: str = LATEST) -> HTMLResponse:
    """Why one of them has its weight, down to single answers, as `loosh explain` says it."""
    body = await parts.receipts.body(miner, epoch)
    # Its own process escaped every word of it; see `receipt_page`.
    about = {"here": "Miners", "miner": miner, "epoch": epoch, "receipt": Markup(body)}
    return show(request, "miner_receipt.html", about)

"""All miners of an epoch: who has which weight, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Query, Request, Response, status
from fastapi.responses import HTMLResponse, RedirectResponse

from ingress.epochs import Epochs, weights_of
from ingress.pages.miner_rows import SHOWN, Asked, MinerRow, headings
from ingress.pages.page import page_router, show
from ingress.parts import Parts, PartsOf
from loosh_pipeline.audit.epochs import LATEST, EpochTables
from loosh_pipeline.audit.miners import MinerLine
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.errors import UnknownMiner

router = page_router()

TREND = 12
"""Epochs of a trend."""
CHOICE = 24
"""Epochs that may be chosen without knowing their number."""


@router.get("/miners", response_class=HTMLResponse, response_model=None)
def miners(
    request: Request,
    parts: PartsOf,
    epoch: str = "",
    sort: str = "",
    order: str = "",
    shown: Annotated[str, Query(alias="show")] = "",
    q: str = "",
    one: str = "",
    beside: Annotated[str, Query(alias="with")] = "",
) -> Response:
    """Who has which weight, and what it was made of; two that are named are put beside one another."""
    asked = Asked.of(sort, order, shown, q)
    if not parts.epochs.newest(1):
        return show(request, "miners.html", {"here": "Miners", "where": None})
    where = parts.epochs.where(epoch or LATEST)
    unknown = ""
    if one.strip():
        try:
            return _compared(parts, where, one.strip(), beside.strip())
        except UnknownMiner as error:
            unknown = str(error)
    found = parts.epochs.miners(where)
    rows = with_trends(found.lines, where.row, parts.epochs.taken(where.row, TREND))
    about = {
        "where": where,
        "unknown": unknown,
        "one": one,
        "beside": beside,
        "asked": asked,
        "rows": asked.rows(rows),
        "all": len(rows),
        "groups": found.groups,
        "uids": found.uids,
        "headings": headings(asked, where.number),
        "shown": SHOWN,
        "epochs": choice(parts.epochs, where.row),
        "terms": parts.epochs.terms(where),
        "made_of": parts.epochs.made_of(where.row),
    }
    code = status.HTTP_404_NOT_FOUND if unknown else status.HTTP_200_OK
    return show(request, "miners.html", {"here": "Miners", **about}, code)


def _compared(parts: Parts, where: EpochTables, one: str, beside: str) -> RedirectResponse:
    """The page of the first, beside the second if there is one. Raises UnknownMiner."""
    hotkey = parts.epochs.meant(where, one)
    query = {"epoch": str(where.number)} | ({"with": parts.epochs.meant(where, beside)} if beside else {})
    return RedirectResponse(f"miners/{quote(hotkey, safe='')}?{urlencode(query)}", status.HTTP_303_SEE_OTHER)


def with_trends(lines: Sequence[MinerLine], row: SubmissionRow, taken: Sequence[SubmissionRow]) -> list[MinerRow]:
    """Each line with its weights of the epochs that the chain took, and of this one, whatever became of it."""
    rows = [*reversed([each for each in taken if each.id != row.id]), row]
    weights = [weights_of(each) for each in rows]
    return [MinerRow(each, tuple(of_one.get(each.hotkey, 0.0) for of_one in weights)) for each in lines]


def choice(epochs: Epochs, row: SubmissionRow) -> list[SubmissionRow]:
    """The newest epochs, and this one, newest first."""
    newest = [*epochs.newest(CHOICE)]
    return newest if row.id >= newest[-1].id else [*newest, row]

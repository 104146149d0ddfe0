"""All miners of an epoch: who has which weight, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from ingress.epochs import Epochs, weights_of
from ingress.pages.miner_rows import SHOWN, Asked, MinerRow, headings
from ingress.pages.page import page_router, show
from ingress.parts import PartsOf
from loosh_pipeline.audit.epochs import LATEST
from loosh_pipeline.audit.miners import MinerLine
from loosh_pipeline.chain.records import SubmissionRow

router = page_router()

TREND = 12
"""Epochs of a trend."""
CHOICE = 24
"""Epochs that may be chosen without knowing their number."""


@router.get("/miners", response_class=HTMLResponse)
def miners(
    request: Request,
    parts: PartsOf,
    epoch: str = "",
    sort: str = "",
    order: str = "",
    shown: Annotated[str, Query(alias="show")] = "",
    q: str = "",
) -> HTMLResponse:
    """Who has which weight, and what it was made of."""
    asked = Asked.of(sort, order, shown, q)
    if not parts.epochs.newest(1):
        return show(request, "miners.html", {"here": "Miners", "where": None})
    where = parts.epochs.where(epoch or LATEST)
    found = parts.epochs.miners(where)
    rows = with_trends(found.lines, where.row, parts.epochs.taken(where.row, TREND))
    about = {
        "where": where,
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
    return show(request, "miners.html", {"here": "Miners", **about})


def with_trends(lines: Sequence[MinerLine], row: SubmissionRow, taken: Sequence[SubmissionRow]) -> list[MinerRow]:
    """Each line with its weights of the epochs that the chain took, and of this one, whatever became of it."""
    rows = [*reversed([each for each in taken if each.id != row.id]), row]
    weights = [weights_of(each) for each in rows]
    return [MinerRow(each, tuple(of_one.get(each.hotkey, 0.0) for of_one in weights)) for each in lines]


def choice(epochs: Epochs, row: SubmissionRow) -> list[SubmissionRow]:
    """The newest epochs, and this one, newest first."""
    newest = [*epochs.newest(CHOICE)]
    return newest if row.id >= newest[-1].id else [*newest, row]

"""All challenges, the newest first: by state, by day, by the beginning of an id or by words of the prompt."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse

from ingress.pages.asked_for import AskedFor, CannotAsk, asked_for
from ingress.pages.listed import lines
from ingress.pages.page import challenge_router, show
from ingress.pages.shown import is_operator
from ingress.parts import PartsOf
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.store.listing import Listed, Listing, Wanted

router = challenge_router()

A_PAGE = 50
BY_ID = 20
"""Challenges that are shown because their id begins as is searched for."""


@router.get("/challenges", response_class=HTMLResponse)
def challenges(
    request: Request, parts: PartsOf, state: str = "", q: str = "", day: str = "", before: str = ""
) -> HTMLResponse:
    """What was accepted, and how far it has come. Raises 422 for what cannot be asked for."""
    try:
        asked = asked_for(state, q, day, before)
        wanted, after = asked.wanted(), asked.after()
    except CannotAsk as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    found = parts.listing.find(wanted, A_PAGE, after)
    named = [] if after else _named(parts.listing, asked, wanted)
    ids = {row.id for row in named}
    rows = [row for row in found.rows if row.id not in ids]
    about = {
        "here": "Challenges",
        "ours": is_operator(request, parts),
        "asked": asked,
        "states": list(ChallengeState),
        "named": lines(parts.outbox, named),
        "rows": lines(parts.outbox, rows),
        "found": found,
    }
    return show(request, "challenges.html", about)


def _named(listing: Listing, asked: AskedFor, wanted: Wanted) -> list[Listed]:
    """Those whose id begins as is searched for, wherever in the list they are; of them, what else is wanted."""
    if not asked.q:
        return []
    return [row for row in listing.beginning_with(asked.q, BY_ID) if _fits(row, wanted)]


def _fits(row: Listed, wanted: Wanted) -> bool:
    in_state = wanted.state in (None, row.state)
    after = wanted.since is None or row.received_at >= wanted.since
    return in_state and after and (wanted.until is None or row.received_at < wanted.until)

"""One challenge with the answers of the miners that were asked."""

from __future__ import annotations

import json
import logging

from fastapi import HTTPException, Request, Response, status
from fastapi.responses import HTMLResponse

from ingress.pages.page import PLAIN, challenge_router, show
from ingress.pages.passages import cut
from ingress.pages.round_answers import answers_of
from ingress.pages.round_facts import UNREADABLE, answer_of, round_facts, said_of
from ingress.pages.round_heatmap import drawn
from ingress.pages.round_request import asked_of
from ingress.pages.round_signals import NETWORK, SIGNALS
from ingress.pages.round_story import story_of
from ingress.pages.shown import could_be_one, hidden, is_operator
from ingress.parts import Parts, PartsOf
from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.inbox import InboxRow

logger = logging.getLogger(__name__)
router = challenge_router()

ID_ROOM = 400


@router.get("/rounds/{challenge_id:path}", response_class=HTMLResponse)
def one(request: Request, challenge_id: str, parts: PartsOf) -> HTMLResponse:
    """What was asked, what was answered, what each answer was paid and why, and whether the network was told."""
    facts = round_facts(parts, _known(parts, challenge_id))
    answers = answers_of(facts)
    about = {
        "here": "Challenges",
        "facts": facts,
        "row": facts.row,
        "asked": asked_of(facts.row.request),
        "answers": answers,
        "story": story_of(facts, answers, parts.settings),
        "heatmap": drawn(parts, facts),
        "signals": SIGNALS,
        "network": NETWORK,
    }
    return show(request, "round.html", about)


@router.get("/answers/{hotkey}/{challenge_id:path}")
def answer(request: Request, hotkey: str, challenge_id: str, parts: PartsOf) -> Response:
    """One answer whole, exactly as it came. The id comes last, as it may hold a slash, which no hotkey does."""
    row = _known(parts, challenge_id)
    try:
        found = answer_of(parts, row, Hotkey(hotkey))
    except UNREADABLE as error:
        logger.warning("the answers of challenge %r cannot be read: %s", row.id, said_of(error))
        why = f": {said_of(error)}" if is_operator(request, parts) else ""
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"the answers cannot be read{why}") from error
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"{_said(hotkey)!r} was not asked in it")
    return _plain(found.text)


@router.get("/requests/{challenge_id:path}")
def asked(challenge_id: str, parts: PartsOf) -> Response:
    """The request of a challenge whole, as it was understood."""
    return _plain(json.dumps(_known(parts, challenge_id).request, ensure_ascii=False, indent=1))


def _plain(text: str) -> Response:
    return Response(text.encode(errors="replace"), media_type="text/plain; charset=utf-8", headers=PLAIN)


def _known(parts: Parts, challenge_id: str) -> InboxRow:
    """Raises HTTPException, in the same words, for a challenge that there is not and one that is not to be shown."""
    named = ChallengeId(challenge_id)
    try:
        row = parts.inbox.get(named) if could_be_one(named) and not hidden(parts, [named]) else None
    except UnknownChallenge:
        row = None
    if row is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no challenge {_said(challenge_id)!r} was accepted here")
    return row


def _said(identity: str) -> str:
    return cut(identity, ID_ROOM)

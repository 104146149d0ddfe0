"""Weights that were set: whether the chain has them, when the next are due, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import HTTPException, Request, status
from fastapi.responses import HTMLResponse

from ingress.pages.charts import embedded
from ingress.pages.miners import choice
from ingress.pages.page import page_router, show
from ingress.pages.shown import is_operator
from ingress.pages.weight_rows import chart, dropped_by_reason, epoch_rows, rule_rows, shadows_of, weight_rows
from ingress.pages.weight_words import next_due, not_ours, verdict
from ingress.parts import Parts, PartsOf
from loosh_pipeline.audit.epochs import EpochTables
from loosh_pipeline.chain.alerts import alerts
from loosh_pipeline.chain.countdown import Countdown
from loosh_pipeline.chain.records import SubmissionRow, plan_digest
from loosh_pipeline.chain_status import facts

router = page_router()

HISTORY = 20
"""Epochs of one page of the history: those of a day."""
UNJUDGED = "it cannot be read how this validator stands"


@router.get("/weights", response_class=HTMLResponse)
def weights(request: Request, parts: PartsOf, epoch: str = "", before: str = "") -> HTMLResponse:
    """Was the last weight set, what was set before, and what one setting changed."""
    until = _until(before)
    standing = _standing(parts, is_operator(request, parts))
    newest = parts.epochs.own(standing["facts"])
    about: dict[str, Any] = {"here": "Weights", "newest": newest, **standing}
    if newest is None:
        return show(request, "weights.html", about)
    last_taken = next(iter(parts.epochs.taken(newest, 1)), None)
    about["not_ours"] = not_ours(newest, standing["facts"])
    where = parts.epochs.where(epoch or str(newest.id))
    about |= {"verdict": verdict(newest), "last_taken": last_taken, "where": where, "epoch_asked": epoch}
    return show(request, "weights.html", about | _history(parts, until) | _of_one(parts, where))


def _until(before: str) -> int | None:
    if not before:
        return None
    if not (before.isascii() and before.isdigit() and len(before) < 10 and int(before) > 0):
        raise HTTPException(
            status.HTTP_422_UNPROCESSABLE_CONTENT, f"before={before!r} is no epoch; give the number of one, such as 12"
        )
    return int(before) - 1


def _standing(parts: Parts, ours: bool) -> dict[str, Any]:
    """How the validator stands, by what is stored, as `loosh chain status --stored` says it."""
    settings, standing, now = parts.settings, parts.standings(), datetime.now(UTC)
    if isinstance(standing, str):
        return {
            "facts": {},
            "left": Countdown.of({}, now),
            "alerts": (),
            "blocked": (),
            "due": f"not known, as {UNJUDGED}{f' ({standing})' if ours else ''}",
        }
    known, wanted = facts(standing, settings), settings.weights_min_rounds
    since = now - timedelta(hours=settings.emissions_lookback_h)
    scored = parts.inbox.scored_since(since, wanted)
    return {
        "facts": known,
        "left": Countdown.of(known, now),
        "alerts": alerts(standing),
        "blocked": standing.blocked,
        "due": next_due(known, scored, wanted, settings.emissions_lookback_h, now),
    }


def _history(parts: Parts, until: int | None) -> dict[str, Any]:
    rows = parts.epochs.newest(HISTORY + 1, until)
    made_of = {row.id: parts.epochs.made_of(row) for row in rows[:HISTORY]}
    older = rows[HISTORY - 1].id if len(rows) > HISTORY else None
    return {"history": epoch_rows(rows, made_of)[:HISTORY], "older": older, "digest": plan_digest}


def _of_one(parts: Parts, where: EpochTables) -> dict[str, Any]:
    """The weights of the chosen epoch beside those before, and what a shadow would make of them."""
    epochs, row = parts.epochs, where.row
    before = _before(epochs.taken(row, 2), row)
    read_back, shadows, traces = epochs.read_back(where), shadows_of(epochs.shadows(where)), epochs.traces(where)
    rows = weight_rows(row, before, read_back, shadows)
    return {
        "row": row,
        "row_verdict": verdict(row),
        "before": before,
        "rows": rows,
        "chart": embedded(chart(rows)) if rows else None,
        "read_back": None if read_back is None else read_back.row(0, named=True),
        "shadows": shadows,
        "rules": rule_rows(traces.proposal, traces.traced),
        "proposal": traces.proposal,
        "dropped": dropped_by_reason(row),
        "uids": epochs.miners(where).uids,
        "epochs": choice(epochs, row),
        "profiles": parts.settings.scoring_profiles,
        "pays": parts.settings.pay_profile,
        "sealed": parts.seals.of(row.id) is not None,
    }


def _before(taken: Sequence[SubmissionRow], row: SubmissionRow) -> SubmissionRow | None:
    return next((each for each in taken if each.id != row.id), None)

"""The first page: whether all is well with this validator, and else what is wrong and what to do."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.outlook import View
from ingress.pages import hours
from ingress.pages.concerns import concerns, headline
from ingress.pages.listed import lines
from ingress.pages.page import page_router, show
from ingress.pages.processes import process_lines
from ingress.pages.shown import is_operator
from ingress.parts import Parts, PartsOf
from loosh_pipeline.audit.epochs import epochs, latest_epoch
from loosh_pipeline.domain import RESULTS
from loosh_pipeline.store.listing import Wanted
from loosh_pipeline.store.outbox import OutboxState

router = page_router()

RECENT = 10
"""Challenges, refused deliveries and waiting ones that are listed."""


@router.get("/", response_class=HTMLResponse)
def overview(request: Request, parts: PartsOf) -> HTMLResponse:
    """How this validator is, for its operator; PAGES_PUBLIC shows everybody the figures, and neither paths nor
    addresses nor what exactly went wrong.
    """
    ours, view, reasons = is_operator(request, parts), parts.outlook(), parts.health.reasons()
    about = {
        "here": "Overview",
        "ours": ours,
        "view": view,
        "reasons": reasons,
        "headline": headline(reasons, view),
        "concerns": concerns(reasons, view, _dagster(parts)) if ours else (),
        "processes": () if view is None else process_lines(view),
    }
    about |= _of_challenges(parts) | _of_weights(parts, view) | _of_deliveries(parts, ours)
    return show(request, "overview.html", about)


def _dagster(parts: Parts) -> str:
    return str(parts.settings.dagster_url or "").rstrip("/")


def _of_challenges(parts: Parts) -> dict[str, Any]:
    day = parts.days()
    return {
        "rows": lines(parts.outbox, parts.listing.find(Wanted(), RECENT).rows),
        "backlog": parts.listing.backlog(),
        "last_hour": day.hours[-1].came,
        "last_day": sum(each.came for each in day.hours),
        "latency": hours.latency(day.latencies_s),
        "rates": hours.rates(day.hours),
        "latencies": hours.latencies(day.hours),
    }


def _of_weights(parts: Parts, view: View | None) -> dict[str, Any]:
    """The newest weights, whatever became of them, the newest that the chain took, and when the next are due."""
    chain = {} if view is None else view.chain
    cutoff, since = chain.get("activity_cutoff_blocks"), chain.get("blocks_since_update")
    due_in_minutes = chain.get("due_in_minutes")
    return {
        "newest": next(iter(epochs(parts.inbox.engine, 1)), None),
        "taken": latest_epoch(parts.inbox.engine),
        "to_cutoff": None if cutoff is None or since is None else max(0, cutoff - since),
        "next_s": None if due_in_minutes is None else max(0.0, 60 * due_in_minutes),
    }


def _of_deliveries(parts: Parts, ours: bool) -> dict[str, Any]:
    counts = parts.outbox.undelivered_counts(RESULTS)
    return {
        "untold": counts[OutboxState.PENDING],
        "refusals": counts[OutboxState.PARKED],
        "refused": parts.outbox.refused(RECENT) if ours else (),
        "waiting": [each for each in parts.outbox.waiting(RECENT) if each.detail] if ours else (),
    }

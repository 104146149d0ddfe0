"""The first page: whether all is well with this validator, and else what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from ingress.outlook import View
from ingress.pages import hours
from ingress.pages.concerns import concerns, headline
from ingress.pages.listed import lines
from ingress.pages.page import page_router, show
from ingress.pages.processes import process_lines
from ingress.pages.shown import challenges_are_open, is_operator
from ingress.pages.weight_words import not_ours
from ingress.parts import Parts, PartsOf
from loosh_pipeline.chain.countdown import Countdown
from loosh_pipeline.chain_status import next_weights, who_sets
from loosh_pipeline.domain import RESULTS
from loosh_pipeline.store.listing import Wanted
from loosh_pipeline.store.outbox import OutboxState

router = page_router()

RECENT = 10
"""Challenges, refused deliveries and waiting ones that are listed."""


@router.get("/", response_class=HTMLResponse)
def overview(request: Request, parts: PartsOf) -> HTMLResponse:
    """How this validator is, for its operator; PAGES_PUBLIC shows everybody the figures, and neither paths nor
    addresses nor what exactly went wrong, nor anything of challenges where canaries are asked.
    """
    ours, view, reasons = is_operator(request, parts), parts.outlook(), parts.health.reasons()
    about: dict[str, Any] = {
        "here": "Overview",
        "ours": ours,
        "open": challenges_are_open(request, parts),
        "view": view,
        "reasons": reasons,
        "headline": headline(reasons, view),
        "concerns": concerns(reasons, view, _dagster(parts)) if ours else (),
        "processes": () if view is None else process_lines(view),
    }
    about |= _of_weights(parts, view)
    if about["open"]:
        about |= _of_challenges(parts) | _of_deliveries(parts, ours)
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
    now, newest = datetime.now(UTC), parts.epochs.own(chain)
    left = Countdown.of(chain, now)
    return {
        "newest": newest,
        "not_ours": newest is not None and not_ours(newest, chain) != "",
        "taken": None if newest is None else next(iter(parts.epochs.taken(newest, 1)), None),
        "left": left,
        "since": None if since is None else since + left.passed,
        "to_cutoff": None if cutoff is None or since is None else max(0, cutoff - since - left.passed),
        "next_weights": _next(parts, chain, left, now) if chain.get("registered") else "",
    }


def _next(parts: Parts, chain: Mapping[str, Any], left: Countdown, now: datetime) -> str:
    is_due = left.due_s is not None and left.due_s <= 0
    return f"by {who_sets(parts.settings)}" if is_due else next_weights(chain, parts.settings, now)


def _of_deliveries(parts: Parts, ours: bool) -> dict[str, Any]:
    counts = parts.outbox.undelivered_counts(RESULTS)
    return {
        "untold": counts[OutboxState.PENDING],
        "refusals": counts[OutboxState.PARKED],
        "refused": parts.outbox.refused(RECENT) if ours else (),
        "waiting": [each for each in parts.outbox.waiting(RECENT) if each.detail] if ours else (),
    }

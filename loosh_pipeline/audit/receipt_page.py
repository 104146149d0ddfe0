"""A receipt as one page: no script, nothing from elsewhere, and every word of a stranger escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from loosh_pipeline.audit.receipt import Receipt, RoundSaid
from loosh_pipeline.audit.receipt_text import when
from loosh_pipeline.audit.templates import TEMPLATES
from loosh_pipeline.domain import Outcome
from loosh_pipeline.scoring.explanation import short

BARS = 96
"""Of the picture of all rounds; where there are more rounds, a bar stands for several."""
LISTED = 200
"""Rounds in the page's table, the newest; all are in the JSON."""
TALLEST = 2.0
"""Payout of a bar of full height, where none is higher."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Some asks that follow one another: parts of the picture's height, and a word on them."""

    paid: float
    failed: float
    title: str


def receipt_page(receipt: Receipt, *, within_pages: bool = False) -> str:
    """The page. `within_pages`: of an ingress, which has more of them to go to."""
    return _template().render(
        receipt=receipt,
        bars=_bars(receipt.rounds),
        listed=receipt.rounds[:LISTED],
        within_pages=within_pages,
    )


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"at": _at, "short": short, "points": _points, "figure": _figure, "when": when}
    return environment.get_template("receipt.html")


def _bars(rounds: Sequence[RoundSaid]) -> list[Bar]:
    """The oldest first."""
    ordered = list(reversed(rounds))
    size = max(1, -(-len(ordered) // BARS))
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    means = [sum(each.payout for each in group) / len(group) for group in groups]
    top = max([TALLEST, *means])
    return [_bar(group, mean, top) for group, mean in zip(groups, means, strict=True)]


def _bar(group: Sequence[RoundSaid], mean: float, top: float) -> Bar:
    failed = sum(each.outcome != Outcome.ANSWERED for each in group)
    many = "" if len(group) == 1 else f"{len(group)} rounds from "
    unanswered = f", {failed} not answered" if failed else ""
    return Bar(mean / top, failed / len(group), f"{many}{_at(group[0].at)}: paid {mean:.3f}{unanswered}")


def _at(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _points(change: float) -> str:
    return "no change" if abs(change) < 5e-7 else f"{100 * change:+.2f}"


def _figure(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)

"""A receipt as one page, or as part of another: no script, nothing from elsewhere, every word of a stranger escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from loosh_pipeline.audit.files_said import OF_CHALLENGE, OF_ROUND
from loosh_pipeline.audit.receipt import Receipt, RoundSaid
from loosh_pipeline.audit.receipt_text import when
from loosh_pipeline.audit.templates import TEMPLATES
from loosh_pipeline.domain import Outcome
from loosh_pipeline.scoring.explanation import short

BARS = 96
"""Of the picture of all rounds; where there are more rounds, a bar stands for several."""
LEAST = 0.015
"""Of the picture's height: what was paid little is seen, and told apart from nothing."""
LISTED = 200
"""Rounds in the page's table, the newest; all are in the JSON."""
STEPS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""The first digits at which an axis may end, so that half of it is a short number too."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Some asks that follow one another: parts of the picture's height, and a word on them."""

    paid: float
    failed: float
    title: str


def receipt_page(receipt: Receipt) -> str:
    """A page that needs nothing else, with its own styles."""
    return _template("receipt.html").render(**_about(receipt), up="")


def receipt_body(receipt: Receipt, up: str) -> str:
    """The same as part of a page of an ingress, whose styles it takes. `up`: the way from there to the root, by which
    challenges and miners are linked.
    """
    return _template("receipt_body.html").render(**_about(receipt), up=up)


def without_rounds(receipt: Receipt) -> Receipt:
    """The same without anything that names a challenge or says how canaries were answered: of miners who read it, one
    that takes the challenges of its receipt from its own log would have the canaries.
    """
    earned = receipt.earned
    if earned is not None:
        earned = replace(earned, failures=tuple(replace(each, newest=()) for each in earned.failures))
    files = tuple(each for each in receipt.files if each.asset not in (*OF_ROUND, *OF_CHALLENGE))
    return replace(receipt, rounds=(), shown=(), files=files, earned=earned, canary=None)


def _about(receipt: Receipt) -> dict[str, Any]:
    bars, top = _bars(receipt.rounds)
    ticks = [_tick(top), _tick(top / 2), "0"]
    return {"receipt": receipt, "bars": bars, "ticks": ticks, "listed": receipt.rounds[:LISTED]}


@cache
def _template(name: str) -> Template:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {
        "at": _at,
        "short": short,
        "points": _points,
        "figure": _figure,
        "when": when,
        "sentence": _sentence,
        "quote": lambda text: quote(str(text), safe=""),
    }
    return environment.get_template(name)


def _bars(rounds: Sequence[RoundSaid]) -> tuple[list[Bar], float]:
    """The oldest first, and the payout at the top of the picture."""
    ordered = list(reversed(rounds))
    size = max(1, -(-len(ordered) // BARS))
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    means = [sum(each.payout for each in group) / len(group) for group in groups]
    top = end_of_axis(max(means, default=0.0))
    return [_bar(group, mean, top) for group, mean in zip(groups, means, strict=True)], top


def end_of_axis(highest: float) -> float:
    """The next short number from the highest bar on; 1 where all are 0."""
    if highest <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(highest))
    return next((step * unit for step in STEPS if step * unit >= highest), 10.0 * unit)


def _tick(value: float) -> str:
    return f"{value:.3g}"


def _bar(group: Sequence[RoundSaid], mean: float, top: float) -> Bar:
    failed = sum(each.outcome != Outcome.ANSWERED for each in group)
    many = "" if len(group) == 1 else f"{len(group)} rounds from "
    failures = (", failed" if len(group) == 1 else f", {failed} failed") if failed else ""
    return Bar(
        max(mean / top, LEAST if mean > 0 else 0.0),
        failed / len(group),
        f"{many}{_at(group[0].at)}: settled pay {mean:.3f}{failures}",
    )


def _at(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _points(change: float) -> str:
    return "no change" if abs(change) < 5e-7 else f"{100 * change:+.2f}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _figure(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)

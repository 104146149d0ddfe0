"""How values are written on pages: one way for each kind, wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from ingress.pages.passages import cut, legible
from ingress.pages.sparks import box, spark
from loosh_pipeline.scoring.explanation import short

NOTHING = "–"
TIME = Markup('<time datetime="{0:%Y-%m-%dT%H:%M:%SZ}">{0:%Y-%m-%d %H:%M:%S}</time>')
BRIEF = Markup('<time datetime="{0:%Y-%m-%dT%H:%M:%SZ}" title="{0:%Y-%m-%d %H:%M:%S} UTC">{0:%m-%d %H:%M:%S}</time>')
BOLD = re.compile(r"\*\*([^*]+)\*\*")
GROUP_COLOURS = 8
AGO = Markup('<time data-ago datetime="{0:%Y-%m-%dT%H:%M:%SZ}" title="{0:%Y-%m-%d %H:%M:%S} UTC">{1}</time>')
PLAINER: Mapping[str, str] = {
    "observed": "on the chain",
    "lookback": "the rounds of the last hours",
    "longer_lookback": "rounds further back",
    "last_vector": "the last weights again",
    "uniform": "the same for all",
}
"""Codes of which the words alone would say little: states of weights, and what weights rest on."""
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
UNITS = (("d", DAY_S), ("h", HOUR_S), ("min", MINUTE_S), ("s", 1))


def at(moment: datetime | None) -> Markup | str:
    """A moment in UTC, as a `time` element, written as receipts write it: `2026-11-26 14:03:05`."""
    return NOTHING if moment is None else TIME.format(moment.astimezone(UTC))


def brief(moment: datetime | None, now: datetime | None = None) -> Markup | str:
    """The same where many stand in a table: without the year, which is said of another year than this one."""
    if moment is None:
        return NOTHING
    utc = moment.astimezone(UTC)
    return (BRIEF if utc.year == (now or datetime.now(UTC)).year else TIME).format(utc)


def ago(moment: datetime | None, now: datetime | None = None) -> Markup | str:
    """How long ago a moment was, as the script keeps saying while the page is open: `12 min ago`, `in 3 h`."""
    if moment is None:
        return NOTHING
    utc = moment.astimezone(UTC)
    passed_s = ((now or datetime.now(UTC)) - utc).total_seconds()
    unit, size = next((each for each in UNITS if abs(passed_s) >= each[1]), UNITS[-1])
    number = int(abs(passed_s) / size + 0.5)
    return AGO.format(utc, f"in {number} {unit}" if passed_s < 0 else f"{number} {unit} ago")


def lasted(seconds: float | None) -> str:
    """A duration in the two units that matter: `850 ms`, `4.2 s`, `3 min 5 s`, `2 h 14 min`, `5 d 3 h`."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S:.0f} min {seconds % MINUTE_S:.0f} s"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S:.0f} h {seconds % HOUR_S // MINUTE_S:.0f} min"
    return f"{seconds // DAY_S:.0f} d {seconds % DAY_S // HOUR_S:.0f} h"


def percent(share: float | None, digits: int = 2) -> str:
    """A share of 1 in per cent."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point; what would be shown as -0 is 0."""
    if value is None:
        return NOTHING
    said = f"{value:.{digits}f}"
    return said if float(said) else said.removeprefix("-")


def points(change: float | None, digits: int = 2) -> str:
    """A change of a share of 1, in points of a hundred: `+1.25`, `−0.30`, and `0` for what would be shown as that."""
    if change is None:
        return NOTHING
    said = f"{100 * change:+.{digits}f}"
    return "0" if not float(said) else said.replace("-", "−")


def group_colour(name: str) -> int:
    """Which of the colours for groups one of this name has; there are eight, and the letter tells the rest apart."""
    return sum(map(ord, name)) % GROUP_COLOURS


def count(number: int | None) -> str:
    """A number of things, with its thousands apart: `4,880`."""
    return NOTHING if number is None else f"{number:,}"


def words(code: Any) -> str:
    """A code in words: `no_answer` is `no answer`, and what is seen on the chain, `on the chain`."""
    return PLAINER.get(str(code or ""), str(code or "").replace("_", " "))


def coded(text: Any) -> Markup:
    """A text in which what stands between backticks is code: `loosh status`."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # one of them stands alone
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def whole(text: Any, most: int = 12) -> Markup:
    """The beginning of an id, with the whole of it where the pointer rests."""
    said = str(text)
    return escape(said) if len(said) <= most else Markup('<span title="{}">{}…</span>').format(said, said[:most])


def emphasised(text: str) -> Markup:
    """The one thing that narratives write in Markdown: `**so**`."""
    bold = Markup("<b>{}</b>")
    return Markup("").join(bold.format(each) if at % 2 else each for at, each in enumerate(BOLD.split(text)))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "at": at,
    "brief": brief,
    "ago": ago,
    "coded": coded,
    "count": count,
    "cut": cut,
    "legible": legible,
    "lasted": lasted,
    "percent": percent,
    "figure": figure,
    "points": points,
    "spark": spark,
    "spark_box": box,
    "group_colour": group_colour,
    "words": words,
    "whole": whole,
    "emphasised": emphasised,
    "short": short,
    "quote": lambda text: quote(str(text), safe=""),
}

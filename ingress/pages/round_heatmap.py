"""The heatmap of a round for its page: the picture that was kept, or one made of the stored scores, without the colours
and the title that a picture by itself needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ingress.kept import Kept
from ingress.pages.charts import embedded
from ingress.pages.page import LOADING
from ingress.pages.round_facts import RoundFacts, Scored
from ingress.parts import Parts
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.store.tables import file_stem

ROOM = 48_000
"""Bytes of a page that a chart may take: some thirty answers. Of more there is the picture."""
OF_THE_PAGE = ("title", "background", "usermeta")
"""What a chart is on a page without: that has a title and colours of its own, light and dark."""
DATA = ("data", "datasets")
MOST_MADE = 30
"""Answers up to which one is made when it is asked for; it would not fit with more."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart, or why there is none; `picture`: whether there is a PNG of it at least. `soon`: whether there is a chart
    when the page is loaded again.
    """

    chart: Markup | None
    why: str
    picture: bool
    soon: bool = False


class NoChart(Exception):
    """Why a round has none."""


def drawn(parts: Parts, facts: RoundFacts) -> Drawn:
    """What a page draws. Blocks for as long as drawing takes, a tenth of a second, where no picture was kept."""
    root, stem = parts.settings.heatmaps_root, file_stem(facts.row.id)
    picture = (root / f"{stem}.png").exists()
    kept = _kept(root / f"{stem}.json")
    try:
        if kept is not None:
            chart = _embedded(kept)
        else:
            paying = _paying(facts)
            if not LOADING.is_over():
                return Drawn(None, "it is being made", picture, soon=True)
            chart = _made(parts.charts, facts, paying)
    except NoChart as why:
        return Drawn(None, str(why), picture)
    if len(chart) > ROOM:
        return Drawn(None, f"of {_compared(facts)} answers it is too large for this page", picture)
    return Drawn(chart, "", picture)


def for_a_page(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what the page gives: texts are written in its colour."""
    return {name: _in_its_colours(part) for name, part in spec.items() if name not in OF_THE_PAGE}


def _in_its_colours(part: Any) -> Any:
    if isinstance(part, list):
        return [_in_its_colours(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "text":
        part = {name: value for name, value in part.items() if name != "color"}
    return {name: value if name in DATA else _in_its_colours(value) for name, value in part.items()}


def _kept(path: Path) -> dict[str, Any] | None:
    """What was kept beside the picture; None where there is none, or a broken one, in place of which one is made."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _embedded(spec: Mapping[str, Any]) -> Markup:
    return embedded(for_a_page(spec))


def _paying(facts: RoundFacts) -> Scored:
    """The stored scores that a chart is made of. Raises NoChart where none can be."""
    paying, count = facts.paying, _compared(facts)
    if paying is None:
        raise NoChart("there are no scores to draw")
    if not paying.paired:
        raise NoChart("the pairs of its answers, which it is drawn from, are not there")
    if count < 2:
        raise NoChart("fewer than two answers could be compared")
    if count > MOST_MADE:
        raise NoChart(f"of {count} answers it is drawn by the asset heatmaps alone, which did not do so yet")
    return paying


def _made(charts: Kept[tuple[str, str], Markup], facts: RoundFacts, paying: Scored) -> Markup:
    """One of the stored scores, or what was made of the same before. Raises NoChart."""

    def make() -> Markup:
        # Imported here: it takes half a second, once, and only rounds without a picture need it.
        from loosh_pipeline.heatmap import round_heatmap, specification

        return _embedded(specification(round_heatmap(facts.row.challenge(), paying.scores, facts.responses)))

    try:
        return charts.get((facts.row.id, paying.scores.scorer_version), make)
    except ImportError as error:
        raise NoChart(f"what draws it cannot be loaded: {error}") from error
    except (ScoringError, ValueError, KeyError) as error:  # rows and pairs that do not belong together
        raise NoChart(f"it cannot be drawn from what is stored: {error}") from error


def _compared(facts: RoundFacts) -> int:
    return sum(each.relevance is not None for each in facts.paying.scores.scores) if facts.paying else 0

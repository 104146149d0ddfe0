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

from ingress.pages.charts import embedded
from ingress.pages.round_facts import RoundFacts
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
    """A chart, or why there is none; `picture`: whether there is a PNG of it at least."""

    chart: Markup | None
    why: str
    picture: bool


def drawn(parts: Parts, facts: RoundFacts) -> Drawn:
    """What a page draws. Making it anew blocks for as long as the libraries take to load, once: call it in a thread."""
    root, stem = parts.settings.heatmaps_root, file_stem(facts.row.id)
    picture = (root / f"{stem}.png").exists()
    spec, why = _kept(root / f"{stem}.json"), ""
    if spec is None:
        spec, why = _made(facts)
    if spec is None:
        return Drawn(None, why, picture)
    chart = embedded(for_a_page(spec))
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


def _made(facts: RoundFacts) -> tuple[dict[str, Any] | None, str]:
    """A specification of the stored scores, or why there is none."""
    paying, count = facts.paying, _compared(facts)
    if paying is None:
        return None, "there are no scores to draw"
    if not paying.paired:
        return None, "the pairs of its answers, which it is drawn from, are not there"
    if count < 2:
        return None, "fewer than two answers could be compared"
    if count > MOST_MADE:
        return None, f"of {count} answers it is drawn by the asset heatmaps alone, which did not do so yet"
    # Imported here: it takes half a second, once, and only rounds without a picture need it.
    from loosh_pipeline.heatmap import round_heatmap, specification

    try:
        return specification(round_heatmap(facts.row.challenge(), paying.scores, facts.responses)), ""
    except (ScoringError, ValueError, KeyError) as error:  # rows and pairs that do not belong together
        return None, f"it cannot be drawn from what is stored: {error}"


def _compared(facts: RoundFacts) -> int:
    return sum(each.relevance is not None for each in facts.paying.scores.scores) if facts.paying else 0

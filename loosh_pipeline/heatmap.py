"""The picture of a round: how alike the answers are, beside what each was paid.

One colour scale for every challenge, [0, 1], so that pictures can be compared; answers in leaf order of an
average-linkage tree, so that those alike stand together.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from loosh_pipeline.domain import Challenge, Hotkey, Response
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.scoring.result import RoundMeasure, RoundScores, Score

Chart = alt.Chart | alt.HConcatChart

CLUSTER_COSINE = 0.5
"""Answers whose mean cosine is at least this are said to be one cluster; for the title only."""
PRINTED_UP_TO = 15
CROWDED_FROM = 61


class Standing(StrEnum):
    """What became of an answer, as the bar beside it is coloured."""

    PAID = "paid"
    SHARED = "copy: shares one vote and pay"
    UNPAID = "unpaid"


# to be told from white and from a dark page alike
STANDING_COLOURS = {Standing.PAID: "#4a86c0", Standing.SHARED: "#e07b39", Standing.UNPAID: "#b3261e"}


@dataclass(frozen=True, slots=True)
class Pay:
    """The payout of one answer, and a word on it for the tooltip."""

    payout: float
    standing: Standing
    note: str = ""


def round_heatmap(challenge: Challenge, scores: RoundScores, responses: Sequence[Response]) -> Chart:
    """The heatmap of a scored round, labelled by uid, with payouts beside it and the uncompared in the subtitle."""
    uids = {response.hotkey: str(response.uid) for response in responses}
    label = {score.hotkey: uids.get(score.hotkey, short_hotkey(score.hotkey)) for score in scores.scores}
    by_hotkey = {score.hotkey: score for score in scores.scores}
    compared, similarity = similarity_of(scores)
    return heatmap_chart(
        [label[hotkey] for hotkey in compared],
        similarity,
        f"Challenge {challenge.id}",
        consensus=scores.measure,
        subtitle=_uncompared([s for s in scores.scores if s.hotkey not in set(compared)], label),
        pay=[_pay_of(by_hotkey[hotkey]) for hotkey in compared],
    )


def similarity_of(scores: RoundScores) -> tuple[tuple[Hotkey, ...], NDArray[np.float64]]:
    """The answers of a round that were compared, sorted, and their (n, n) cosines, from its stored pairs.

    One comparable answer has no pair: it is the one with a relevance.
    """
    hotkeys = tuple(sorted(score.hotkey for score in scores.scores if score.relevance is not None))
    at = {hotkey: i for i, hotkey in enumerate(hotkeys)}
    matrix = np.eye(len(hotkeys))
    for pair in scores.pairs:
        i, j = at[pair.first], at[pair.second]
        matrix[i, j] = matrix[j, i] = pair.similarity
    return hotkeys, matrix


def consensus_text(measure: RoundMeasure) -> str:
    """The network's measure in a few words."""
    reached = "reached" if measure.consensus_reached else "not reached"
    mean, spread = measure.consensus_mean, measure.consensus_spread
    return f"consensus {measure.consensus_score:.2f} = mean {mean:.2f} + spread {spread:.2f}, {reached}"


def heatmap_chart(
    labels: Sequence[str],
    similarity: NDArray[np.float64],
    title: str,
    *,
    subtitle: str = "",
    consensus: RoundMeasure | None = None,
    pay: Sequence[Pay] | None = None,
) -> Chart:
    """A heatmap of (n, n) cosines, one label per row; with `pay`, a bar of what each was paid at its side.

    Values are printed up to 15 answers. No or one answer yields a chart that says so. Raises ScoringError for
    labels that repeat, or for arrays that do not fit or are not finite.
    """
    matrix = _checked(labels, similarity, pay)
    size = len(labels)
    if size < 2:
        said = "no answers to compare" if size == 0 else f"one answer ({labels[0]}): nothing to compare it with"
        return _notice(said, title, subtitle)
    tree = linkage(squareform(1 - matrix, checks=False), "average", optimal_ordering=size < CROWDED_FROM)
    order = leaves_list(tree).tolist()
    clusters = int(fcluster(tree, 1 - CLUSTER_COSINE, "distance").max())
    found = f"{size} answers in {clusters} cluster{'s' if clusters > 1 else ''}"
    found += "" if consensus is None else f"; {consensus_text(consensus)}"
    picture = _matrix_chart(labels, matrix, order)
    parts = [picture, _pay_chart(labels, pay, order)] if pay else [picture]
    return alt.hconcat(*parts, spacing=12).properties(
        title=alt.TitleParams(title, subtitle=[found, *_wrapped(subtitle)], anchor="start", fontSize=14),
        usermeta={"png_scale": 1.2 if size < CROWDED_FROM else 1.0},
        background="white",
        config=alt.Config(view=alt.ViewConfig(strokeWidth=0)),
    )


def specification(chart: Chart) -> dict[str, Any]:
    """The chart in Vega-Lite's terms, with its data. Checking it against the schema would take as long as drawing."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec


def render_png(spec: dict[str, Any]) -> bytes:
    """A specification as a PNG, drawn offline."""
    scale = float(spec.get("usermeta", {}).get("png_scale", 1.2))
    return bytes(vl_convert.vegalite_to_png(spec, scale=scale))


def spec_json(spec: Mapping[str, Any]) -> str:
    """A specification for a page that draws it with tooltips."""
    return json.dumps(spec, separators=(",", ":"), sort_keys=True)


def short_hotkey(hotkey: str) -> str:
    """The first and last four characters of an address."""
    return hotkey if len(hotkey) <= 10 else f"{hotkey[:4]}…{hotkey[-4:]}"


def cell_px(size: int) -> float:
    """Pixels a cell: large enough to read while there is room, the whole between 320 and 900 px."""
    step = 34 if size <= PRINTED_UP_TO else 14 if size < CROWDED_FROM else 4
    return min(max(step * size, 320 if size > PRINTED_UP_TO else step * size), 900) / size


def _checked(labels: Sequence[str], similarity: NDArray[np.float64], pay: Sequence[Pay] | None) -> NDArray[np.float64]:
    size = len(labels)
    if similarity.shape != (size, size) or (pay is not None and len(pay) != size):
        raise ScoringError(
            f"a heatmap of {size} labels needs {size} × {size} similarities and as many payouts; got "
            f"{similarity.shape} and {'none' if pay is None else len(pay)}"
        )
    if len(set(labels)) != size:
        raise ScoringError(f"the labels of a heatmap must differ; these repeat: {sorted(labels)}")
    if not np.isfinite(similarity).all():
        raise ScoringError("the similarities of a heatmap must be finite; score the round again")
    matrix: NDArray[np.float64] = np.clip((similarity + similarity.T) / 2, -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _matrix_chart(
    labels: Sequence[str], matrix: NDArray[np.float64], order: Sequence[int]
) -> alt.LayerChart | alt.FacetChart:
    size = len(labels)
    crowded: Any = "greedy" if size >= CROWDED_FROM else False
    side = cell_px(size) * size
    across = alt.Axis(labelOverlap=crowded, labelAngle=-90 if size > PRINTED_UP_TO else 0)
    base = alt.Chart(_cells(labels, matrix, order)).encode(
        # sort=None keeps the order of the data: an explicit list of names is slow to draw
        x=alt.X("col:N", sort=None, title="uid (answers that are alike stand together)", axis=across),
        y=alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelOverlap=crowded)),
    )
    fill = alt.Color(
        "cosine:Q",
        scale=alt.Scale(scheme="viridis", domain=[0, 1], clamp=True),
        legend=alt.Legend(title="cosine", orient="left", gradientLength=min(side, 200)),
    )
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("col:N"), alt.Tooltip("cosine:Q", format=".3f")]
    layers = [base.mark_rect().encode(color=fill, tooltip=tooltip)]
    if size <= PRINTED_UP_TO:
        ink = alt.condition("datum.cosine > 0.6", alt.value("black"), alt.value("white"))
        said = alt.Text("cosine:Q", format=".2f")  # it lies on its cell, so the pointer is on it as often as on that
        layers.append(base.mark_text(fontSize=10).encode(text=said, color=ink, tooltip=tooltip))
    return alt.layer(*layers).properties(width=side, height=side)


def _cells(labels: Sequence[str], matrix: NDArray[np.float64], order: Sequence[int]) -> alt.InlineData:
    # as CSV: altair would check each of n² objects against its schema, which takes seconds at n = 200
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["row", "col", "cosine"])
    table.writerows([labels[i], labels[j], round(float(matrix[i, j]), 3)] for i in order for j in order)
    types = {"row": "string", "col": "string", "cosine": "number"}
    return alt.InlineData(values=text.getvalue(), format={"type": "csv", "parse": types})


def _pay_chart(labels: Sequence[str], pay: Sequence[Pay], order: Sequence[int]) -> alt.LayerChart | alt.FacetChart:
    size = len(labels)
    rows = [_pay_row(labels[i], pay[i]) for i in order]
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=alt.Y("row:N", sort=None, axis=None))
    colour = alt.Color(
        "standing:N",
        scale=alt.Scale(domain=list(STANDING_COLOURS), range=list(STANDING_COLOURS.values())),
        legend=alt.Legend(title=None, orient="bottom", direction="vertical", symbolType="square", symbolOpacity=1),
    )
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("row", "payout", "standing", "note")]
    top = max([1.0, *(item.payout for item in pay)])
    length = alt.X("payout:Q", title="payout (1 = average)", scale=alt.Scale(domain=[0, top * 1.35]))
    unpaid = base.transform_filter(f"datum.standing === '{Standing.UNPAID}'")
    mark_px = min(cell_px(size) * 0.6, 8)
    layers = [
        base.mark_bar().encode(x=length, color=colour, tooltip=tooltip),
        unpaid.mark_square(size=mark_px**2, xOffset=mark_px / 2, opacity=1).encode(
            x=length, color=colour, tooltip=tooltip
        ),
    ]
    if size <= PRINTED_UP_TO:
        said = base.mark_text(align="left", dx=alt.ExprRef("datum.payout > 0 ? 4 : 14"), fontSize=10, color="#333")
        layers.append(said.encode(x=length, text="said:N"))
    return alt.layer(*layers).properties(width=150, height=cell_px(size) * size)


def _pay_row(label: str, pay: Pay) -> dict[str, Any]:
    return {
        "row": label,
        "payout": round(pay.payout, 3),
        "standing": pay.standing.value,
        "note": pay.note,
        "said": f"{pay.payout:.2f}" if pay.payout > 0 else pay.note or "0",
    }


def _notice(said: str, title: str, subtitle: str) -> alt.Chart:
    text = alt.Chart(alt.InlineData(values=[{"said": said}])).mark_text(fontSize=14, color="#555").encode(text="said:N")
    chart: alt.Chart = text.properties(
        width=420,
        height=120,
        title=alt.TitleParams(title, subtitle=_wrapped(subtitle), anchor="start", fontSize=14),
        background="white",
        config=alt.Config(view=alt.ViewConfig(strokeWidth=0)),
    )
    return chart


def _wrapped(text: str, width: int = 90) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines[:4]


def _pay_of(score: Score) -> Pay:
    if not score.scored or score.payout <= 0:
        return Pay(score.payout, Standing.UNPAID, (score.reason or "no agreement").replace("_", " "))
    if score.copies:
        return Pay(score.payout, Standing.SHARED, f"{score.share:.0%} of one pay")
    return Pay(score.payout, Standing.PAID)


def _uncompared(scores: Sequence[Score], label: Mapping[Hotkey, str]) -> str:
    if not scores:
        return ""
    named = ", ".join(f"uid {label[score.hotkey]} ({score.reason.replace('_', ' ')})" for score in scores[:12])
    more = f" and {len(scores) - 12} more" if len(scores) > 12 else ""
    return f"Not compared, unpaid: {named}{more}"

"""One miner over the epochs, as Vega-Lite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingress.epochs import Past
from ingress.pages.charts import VEGA_LITE

TICKS = 8
ACCENT = "#2f8fb8"
"""Seen on light and on dark."""


def over_epochs(past: Sequence[Past]) -> list[dict[str, Any]]:
    """Its weight, and its mean payout; an epoch in which it was not asked is a gap in the second."""
    weights = [{"epoch": each.row.id, "value": 100 * each.weight} for each in past]
    payouts = [
        {"epoch": each.row.id, "value": None if each.emission is None else each.emission.mean_payout} for each in past
    ]
    return [_line(weights, "weight, % of all", ".2f"), _line(payouts, "mean payout", ".3f")]


def _ticks(epochs: Sequence[int]) -> list[int]:
    """Epochs that an axis names: whole ones, with even steps, the last among them."""
    step = -(-len(epochs) // TICKS)
    return list(epochs[::-1][::step][::-1])


def _line(values: Sequence[dict[str, Any]], title: str, form: str) -> dict[str, Any]:
    epoch = {"field": "epoch", "type": "quantitative", "title": "epoch"}
    value = {"field": "value", "type": "quantitative", "title": title}
    return {
        "$schema": VEGA_LITE,
        "width": "container",
        "height": 120,
        "data": {"values": list(values)},
        "mark": {"type": "line", "point": True, "color": ACCENT},
        "encoding": {
            "x": {
                **epoch,
                "axis": {"format": "d", "values": _ticks([each["epoch"] for each in values]), "grid": False},
                "scale": {"zero": False},
            },
            "y": {**value, "scale": {"zero": True}, "axis": {"tickCount": 4}},
            "tooltip": [epoch, {**value, "format": form}],
        },
        "config": {"view": {"stroke": None}},
    }

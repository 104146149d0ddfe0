"""Charts as pages hold them: Vega-Lite specifications that a browser draws without evaluating code."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

NUMBER = "number"
VEGA_LITE = "https://vega.github.io/schema/vega-lite/v6.json"
"""What a specification says it is; nothing is fetched from there."""


def embedded(spec: dict[str, Any]) -> Markup:
    """A specification as JSON that may stand within a `script` element, whatever texts it holds."""
    kept = spec.get("datasets", {})
    drawn = {name: value for name, value in spec.items() if name != "datasets"}
    text = json.dumps(_with_rows(drawn, kept), separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _with_rows(part: Any, kept: Mapping[str, Any]) -> Any:
    """The same with the rows of its data in it, in place of tables in CSV, for which Vega would compile a reader."""
    if isinstance(part, list):
        return [_with_rows(each, kept) for each in part]
    if not isinstance(part, dict):
        return part
    return {name: _data(value, kept) if name == "data" else _with_rows(value, kept) for name, value in part.items()}


def _data(data: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    values: Any = data["values"] if "values" in data else kept.get(data.get("name", ""))
    shape = data.get("format", {})
    if shape.get("type") != "csv":
        return {**data, "values": values}
    types = shape.get("parse", {})
    return {"values": [_typed(row, types) for row in csv.DictReader(values.splitlines())]}


def _typed(row: dict[str, str], types: Mapping[str, str]) -> dict[str, str | float]:
    return {name: float(value) if types.get(name) == NUMBER else value for name, value in row.items()}

"""docs/reference/settings.md: every setting by section, with its default, what it may be, and what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.shown import Shown, shown_settings
from tests.docs.tables import code, table

HEAD = """\
# Settings

Every setting is an environment variable, or a line of `.env`. An empty value counts as unset. `loosh config show` says
what holds on a machine and where it comes from; `loosh config check` whether it can be used.
[Configuration](../operating/configuration.md) says more, [tuning](../tuning.md) what some do to pay, latency and
cost. A time has its unit at the end of its name: `_S` seconds, `_H` hours, `_DAYS` days.
"""
BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


def page() -> str:
    defaults = Settings.model_construct()
    sections = groupby(shown_settings(defaults, {}, {}), key=lambda each: each.section)
    return HEAD + "".join(_section(title, list(settings)) for title, settings in sections)


def _section(title: str, settings: list[Shown]) -> str:
    name, _, more = title.partition(";")
    rows = (
        (code(each.name), code(each.default), allowed(Settings.model_fields[each.name.lower()]), each.doc)
        for each in settings
    )
    head = name.partition(":")[0]
    about = title.removeprefix(head).lstrip(":; ") if (more or ":" in name) else ""
    lead = f"{about[:1].upper()}{about[1:]}.\n\n" if about else ""
    return f"\n## {head[:1].upper()}{head[1:]}\n\n{lead}" + table(("setting", "default", "may be", "what it is"), rows)


def allowed(field: FieldInfo) -> str:
    """What the type lets a value be, where that is more than a text or a number."""
    bounds = ", ".join(_bounds(field.metadata))
    choices = " or ".join(code(each) for each in _choices(field.annotation))
    return choices or bounds


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for each in metadata:
        for name, words in BOUNDS.items():
            if (limit := getattr(each, name, None)) is not None:
                yield words.format(f"{limit:,}" if isinstance(limit, int) else f"{limit:g}")


def _choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(each) for each in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(each.value) for each in annotation]
    if get_origin(annotation) in (Union, UnionType):
        return [choice for each in get_args(annotation) for choice in _choices(each)]
    return []

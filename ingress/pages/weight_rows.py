"""The tables of weights: epochs and how far each went from the one before, and the weights of one. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ingress.epochs import MadeOf, weights_of
from ingress.pages.charts import VEGA_LITE
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Hotkey, Proposal, RuleAct
from loosh_pipeline.policy.propose import Traced
from loosh_pipeline.policy.ruled import normalised

ACTS_SHOWN = 3
"""Acts of a rule that are told with their reasons."""
HARDLY = 1e-9
"""A part of all weight that counts for nothing."""
NOW, LAST = "#2f8fb8", "#c2410c"
"""Seen on light and on dark."""
LEVEL = 12
"""Bars up to which their names are written level."""
NAMED = 40
"""Bars up to which each has its name below it."""


def moved(before: Mapping[Hotkey, float], after: Mapping[Hotkey, float]) -> float:
    """The part of all weight that goes to others: half of what all shares change by."""
    changes = [after.get(each, 0.0) - before.get(each, 0.0) for each in before.keys() | after.keys()]
    return max(math.fsum(c for c in changes if c > 0), math.fsum(-c for c in changes if c < 0))


@dataclass(frozen=True, slots=True)
class EpochRow:
    """`moved`: from the weights that the chain took before; None where it took none of those that are known."""

    row: SubmissionRow
    made_of: MadeOf | None
    moved: float | None


def epoch_rows(rows: Sequence[SubmissionRow], made_of: Mapping[int, MadeOf | None]) -> list[EpochRow]:
    """`rows`: newest first; the last of them may only be there to be compared with."""
    found = []
    for place, row in enumerate(rows):
        before = next((each for each in rows[place + 1 :] if each.taken and each.of_one_signer(row)), None)
        far = None if before is None else moved(weights_of(before), weights_of(row))
        found.append(EpochRow(row, made_of.get(row.id), far))
    return found


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a profile that does not pay would make of the weights of the paying one, over rounds that both scored."""

    profile: str
    pays: str
    rounds: int
    total_variation: float
    vtrust: float | None
    changes: Mapping[Hotkey, float]


def shadows_of(frame: pl.DataFrame | None) -> list[Shadow]:
    """One for each profile of a `shadow_diff` table."""
    if frame is None:
        return []
    return [_shadow(rows) for _, rows in sorted(frame.group_by("b"), key=lambda each: str(each[0][0]))]


def _shadow(rows: pl.DataFrame) -> Shadow:
    about = rows.row(0, named=True)
    changes = {Hotkey(hotkey): change for hotkey, change in rows.select("hotkey", "change").iter_rows()}
    figures = about["rounds"], about["total_variation"], about["expected_vtrust"]
    return Shadow(about["b"], about["a"], *figures, changes)


@dataclass(frozen=True, slots=True)
class WeightRow:
    """`last`: in the epoch before; `observed`: what was read back, None before that; `shadows`: change by profile."""

    hotkey: Hotkey
    uid: int | None
    weight: float
    last: float | None
    observed: float | None
    shadows: tuple[float | None, ...]

    @property
    def change(self) -> float | None:
        return None if self.last is None else self.weight - self.last


def weight_rows(
    row: SubmissionRow, before: SubmissionRow | None, observed: pl.DataFrame | None, shadows: Sequence[Shadow]
) -> list[WeightRow]:
    """Whoever has a weight now or had one before, the largest first."""
    now, last = weights_of(row), None if before is None else weights_of(before)
    uids: dict[Hotkey, int] = {} if before is None else {h: uid for uid, h in before.plan.hotkeys.items()}
    uids |= {hotkey: uid for uid, hotkey in row.plan.hotkeys.items()}
    seen = None if observed is None else dict(observed.select("hotkey", "observed").iter_rows())
    found = [
        WeightRow(
            hotkey=hotkey,
            uid=uids.get(hotkey),
            weight=now.get(hotkey, 0.0),
            last=None if last is None else last.get(hotkey, 0.0),
            observed=None if seen is None else seen.get(hotkey, 0.0),
            shadows=tuple(each.changes.get(hotkey) for each in shadows),
        )
        for hotkey in now.keys() | (last or {}).keys()
    ]
    return sorted(found, key=lambda each: (-each.weight, -(each.last or 0.0), each.hotkey))


@dataclass(frozen=True, slots=True)
class RuleRow:
    """`moved`: the part of all that it gave to others, None where it is not known. `some` of its acts are shown."""

    rule: str
    moved: float | None
    acts: int
    some: tuple[RuleAct, ...]


def rule_rows(proposal: Proposal | None, traced: Traced | None) -> list[RuleRow]:
    """Rules that acted or moved anything, in order."""
    if traced is not None:
        steps = (
            _rule(step.rule, step.acts, moved(normalised(step.before), normalised(step.after))) for step in traced.steps
        )
        return [each for each in steps if each.acts or (each.moved or 0.0) > HARDLY]
    acts = () if proposal is None else proposal.acts
    names = list(dict.fromkeys(act.rule for act in acts))
    return [_rule(name, [act for act in acts if act.rule == name], None) for name in names]


def _rule(name: str, acts: Iterable[RuleAct], far: float | None) -> RuleRow:
    acts = sorted(acts, key=lambda act: -abs(act.before - act.after))
    named = {act.rule for act in acts} or {name}
    return RuleRow(" and ".join(sorted(named)), far, len(acts), tuple(acts[:ACTS_SHOWN]))


def dropped_by_reason(row: SubmissionRow) -> list[tuple[str, list[Hotkey]]]:
    """Who was proposed and has no weight, by why, the commonest first."""
    found: dict[str, list[Hotkey]] = {}
    for hotkey, reason in row.plan.dropped.items():
        found.setdefault(reason, []).append(hotkey)
    return sorted(found.items(), key=lambda each: (-len(each[1]), each[0]))


def chart(rows: Sequence[WeightRow]) -> dict[str, Any]:
    """Bars of now, and a line where each was in the epoch before."""
    values = [
        {"m": each.hotkey[:10] if each.uid is None else f"uid {each.uid}", "now": _percent(each.weight)}
        | ({} if each.last is None else {"last": _percent(each.last)})
        for each in rows
    ]
    axis = (
        {"labelAngle": 0 if len(values) <= LEVEL else -60, "title": None}
        if len(values) <= NAMED
        else {"labels": False, "ticks": False, "title": "miners, the largest weight first"}
    )
    x = {"field": "m", "type": "nominal", "sort": None, "axis": axis}
    told = [
        {"field": "m", "title": "miner"},
        {"field": "now", "title": "now, %"},
        {"field": "last", "title": "before, %"},
    ]
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "bar", "color": NOW},
            "encoding": {
                "x": x,
                "y": {"field": "now", "type": "quantitative", "title": "% of all weight"},
                "tooltip": told,
            },
        }
    ]
    if any("last" in each for each in values):
        layers.append(
            {
                "mark": {"type": "tick", "color": LAST, "thickness": 2},
                "encoding": {"x": x, "y": {"field": "last", "type": "quantitative"}, "tooltip": told},
            }
        )
    data = {"values": values}
    return {"$schema": VEGA_LITE, "width": "container", "height": 180, "data": data, "layer": layers}


def _percent(share: float) -> float:
    return round(100 * share, 4)

"""What would be otherwise, for people: tables and lines on a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.markup import escape
from rich.table import Table

from loosh_pipeline.audit.sampling import Estimate
from loosh_pipeline.audit.scorer_diff import ScorerDiff
from loosh_pipeline.audit.weight_diff import Move, WeightDiff
from loosh_pipeline.audit.whatif import How, WhatIf
from loosh_pipeline.cli.telling import out

SHOWN = 20
"""Miners and acts in a table; `--json` has all."""
UNMOVED = 3
"""Of those that stay as they are."""
LEAST = 5e-6
"""Smaller changes of a share are 0 as they are printed."""
FIRST, LAST = 6, 4
"""Characters of a hotkey in a table."""
Said = Callable[[float], str]


def print_whatif(found: WhatIf) -> None:
    """First what it rests on, then who has what, then figures and rules."""
    row = found.epoch.found.row
    line(f"epoch {row.id} ({row.state.value}), changed: {found.changes.said()}")
    if found.differing:
        line(f"with nothing changed the epoch's weights do not come out again: {'; '.join(found.differing)}", "red")
    else:
        line("with nothing changed the epoch's weights come out again, bit for bit")
    line(_how(found))
    for said in filter(None, (found.short, *found.without_effect)):
        line(said, "yellow")
    for note in found.notes:
        line(note)
    if found.unscorable:
        line(f"{len(found.unscorable)} rounds cannot be scored: {found.unscorable[0]}")
    if found.after.refused:
        line(f"no weights could be set: {found.after.refused}", "red")
    for said in found.held_up:
        line(f"a check would hold it up: {said}", "yellow")
    _print_table(found)
    _print_unjudged(found)
    chance = found.spread
    _print_figures(
        _figure(found.total_variation, None if chance is None else chance.total_variation, "{:.3%}".format),
        _figure(found.ranks, None if chance is None else chance.ranks, "{:.3f}".format, "all alike"),
        _figure(found.vtrust, None if chance is None else chance.total_variation.less(1.0), "{:.3f}".format),
    )
    _print_flags(found.diff, " (in the sample)" if chance is not None else "")
    _print_acts(found)


def print_diff(found: ScorerDiff) -> None:
    """The same of two scorers."""
    line(
        f"{found.rounds} rounds have both: {found.a_rounds} {found.a.said}, {found.b_rounds} {found.b.said}; "
        f"{found.since:%F %T} to {found.until:%F %T} UTC; policy of epoch {found.epoch}"
    )
    for missing in found.missing:
        line(missing, "yellow")
    for scorer, weighed in ((found.a, found.before), (found.b, found.after)):
        if weighed.refused:
            line(f"no weights under {scorer.said}: {weighed.refused}", "red")
    diff = found.diff
    table = Table("hotkey", escape(found.a.said), escape(found.b.said), "change")
    listed = _listed(diff.moves)
    for each in listed:
        table.add_row(_short(each.hotkey), f"{each.before:.3%}", f"{each.after:.3%}", _change(each.change))
    out.print(table)
    _print_rest([each.change for each in diff.moves[len(listed) :]])
    _print_figures(
        f"{diff.total_variation:.3%}",
        _figure(diff.rank_correlation, None, "{:.3f}".format, "all alike"),
        _figure(diff.vtrust, None, "{:.3f}".format),
    )
    _print_flags(diff, "")


def line(said: str, colour: str = "") -> None:
    """Text of others, as it is."""
    text = escape(said)
    out.print(f"[{colour}]{text}[/]" if colour else text, highlight=False, soft_wrap=True)


def _how(found: WhatIf) -> str:
    before, after = found.before.earned.rounds, found.after.earned.rounds
    rounds = f"{before} rounds" if before == after else f"{before} rounds before, {after} after"
    if found.how is How.SAMPLED:
        return (
            f"from {rounds} of {found.of_rounds}, drawn by seed {found.effort.seed} and scored anew; both sides on "
            "these rounds, 95 % intervals by drawing them again"
        )
    if found.how is How.INCOMPLETE:
        return f"not exact: {rounds} of {found.of_rounds}, all that can be scored anew; both sides on these rounds"
    anew = ", all scored anew" if found.how is How.RESCORED else ", from stored rows"
    return f"{'exact' if found.exact else 'not exact'}: {rounds}{anew}"


def _print_table(found: WhatIf) -> None:
    sampled = found.spread is not None
    table = Table("hotkey", "had", *(("in the sample",) if sampled else ()), "would have", "change")
    moves = [each for each in found.diff.moves if each.hotkey not in found.unjudged]
    listed = _listed(moves)
    for each in listed:
        between = found.interval(each.hotkey)
        change = _change(each.change) + (f" ± {between.high - each.change:.3%}" if between else "")
        had = (f"{found.had.get(each.hotkey, 0.0):.3%}", *((f"{each.before:.3%}",) if sampled else ()))
        table.add_row(_short(each.hotkey), *had, f"{each.after:.3%}", change)
    out.print(table)
    _print_rest([each.change for each in moves[len(listed) :]])


def _print_unjudged(found: WhatIf) -> None:
    if found.unjudged:
        had = math.fsum(found.had.get(hotkey, 0.0) for hotkey in found.unjudged)
        named = ", ".join(map(_short, found.unjudged[:3])) + ("…" if len(found.unjudged) > 3 else "")
        line(f"not judged by this sample: {len(found.unjudged)} miners that had {had:.3%} ({named})", "yellow")


def _listed(moves: Sequence[Move]) -> Sequence[Move]:
    """Whoever moved, and a few of those that did not: they come last."""
    moved = sum(_change(each.change) != "0" for each in moves)
    return moves[: min(SHOWN, moved + UNMOVED)]


def _change(change: float) -> str:
    return "0" if abs(change) < LEAST else f"{change:+.3%}"


def _print_rest(changes: list[float]) -> None:
    if changes and all(_change(each) == "0" for each in changes):
        line(f"and {len(changes)} more, unchanged")
    elif changes:
        rest = math.fsum(map(abs, changes))
        line(f"and {len(changes)} more, whose changes come to {rest:.3%} without their signs")


def _figure(value: float | None, found: Estimate | None, said: Said, none: str = "none: a side gives no weight") -> str:
    if value is None:
        return none
    between = "" if found is None else f" ({said(found.between.low)} to {said(found.between.high)})"
    return f"{said(value)}{between}"


def _print_figures(moved: str, ranks: str, vtrust: str) -> None:
    line(f"total variation {moved}, rank correlation {ranks}, expected vtrust {vtrust}")


def _print_flags(diff: WeightDiff, where: str) -> None:
    for said, flags in (("newly flagged", diff.newly_flagged), ("no longer flagged", diff.no_longer_flagged)):
        for each in flags[:SHOWN]:
            line(f"{said}{where}: {_short(each.hotkey)} by {each.by}: {each.why}")
        if len(flags) > SHOWN:
            line(f"and {len(flags) - SHOWN} more {said}")


def _print_acts(found: WhatIf) -> None:
    for act in found.acts[:SHOWN]:
        was, would = (f"{each.before:.3%} to {each.after:.3%}" if each else "nothing" for each in (act.was, act.would))
        line(f"{act.rule} {_short(act.hotkey)}: did {was}, would do {would}")
    if len(found.acts) > SHOWN:
        line(f"and {len(found.acts) - SHOWN} more acts of rules that differ")


def _short(hotkey: str) -> str:
    return hotkey if len(hotkey) <= FIRST + LAST + 1 else f"{hotkey[:FIRST]}…{hotkey[-LAST:]}"

"""`loosh whatif` and `loosh diff`: weights as they would be otherwise, from what is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loosh_pipeline.cli.allowed import completing
from loosh_pipeline.cli.rescoring import profiles
from loosh_pipeline.cli.telling import AsJson, err, out, tell_json
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings

if TYPE_CHECKING:
    from loosh_pipeline.audit.sampling import Spread
    from loosh_pipeline.audit.scorer_diff import ScorerDiff
    from loosh_pipeline.audit.weight_diff import Flag, WeightDiff
    from loosh_pipeline.audit.whatif import WhatIf

SHOWN = 20
"""Miners and acts in a table; `--json` has all."""
FIRST, LAST = 6, 4
"""Characters of a hotkey in a table."""
SAMPLE = 1_000
"""Rounds: two processors score them in some ten seconds."""
HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}

Epoch = Annotated[str, typer.Option(metavar="NUMBER", help="of `loosh audit list`; the newest that the chain took")]


def whatif(
    epoch: Epoch = "latest",
    without: Annotated[
        list[str] | None, typer.Option(metavar="HOTKEY", help="as if it had never been asked; may be repeated")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="of emissions (half_life=6), policy (entity_cap=0.1, lookback=12h) or the profile (power=5), by their "
            "own name or their setting's; may be repeated",
        ),
    ] = None,
    no_sybil: Annotated[bool, typer.Option("--no-sybil", help="as if the Challenge API suspected nobody")] = False,
    profile: Annotated[
        str | None, typer.Option(help="paid by another profile", autocompletion=completing(profiles))
    ] = None,
    sample: Annotated[
        int, typer.Option(min=2, help="rounds that are scored anew where stored rows cannot say it")
    ] = SAMPLE,
    seed: Annotated[int, typer.Option(min=0, help="by which they are drawn")] = 0,
    full: Annotated[bool, typer.Option("--full", help="score all of them anew")] = False,
    as_json: AsJson = False,
) -> None:
    """The weights of an epoch as they would have been otherwise, beside those that were set.

    First they are worked out with nothing changed. Ends with 0, or 1 when that does not give the epoch's weights, or
    when no weights could be set of what comes out.
    """
    from loosh_pipeline.audit.changes import changes
    from loosh_pipeline.audit.recorded import recorded_epoch
    from loosh_pipeline.audit.whatif import Effort, what_if
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    settings = get_settings()
    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    recorded = recorded_epoch(inbox.engine, tables, epoch)
    wanted = changes(set_ or (), recorded.profile, profile, without or (), no_sybil)
    rounds = recorded.counted.height if full else min(sample, recorded.counted.height)
    with _progress(rounds) as advance:
        found = what_if(tables, inbox, recorded, wanted, Effort(sample, seed, full), advance)
    if as_json:
        tell_json(said_whatif(found))
    else:
        _print_whatif(found)
    if found.differing or found.after.refused:
        raise typer.Exit(1)


def diff(
    a: Annotated[str, typer.Option(metavar="SCORER", help="a profile, one like robust:power=5, or a version's hash")],
    b: Annotated[str, typer.Option(metavar="SCORER", help="the same; what it would change beside a")],
    window: Annotated[str, typer.Option(help="of which rounds, like 24h or 7d")] = "24h",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601; now without it")] = None,
    as_json: AsJson = False,
) -> None:
    """Weights under two scorers, both of stored rows, after the policy of the newest epoch.

    What is not stored is made by `loosh rescore`; the command is told. Ends with 0, or 1 when no round has both.
    """
    from loosh_pipeline.audit.recorded import recorded_epoch
    from loosh_pipeline.audit.scorer_diff import scorer_diff
    from loosh_pipeline.audit.stored_rows import scorer_named
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    settings, end = get_settings(), datetime.now(UTC) if until is None else _time(until)
    hours = hours_of(window)
    tables, inbox = Tables(settings.tables_root), Inbox.open(settings.inbox_url)
    scorers = [scorer_named(tables, each) for each in (a, b)]
    recorded = recorded_epoch(inbox.engine, tables, "latest")
    first, second = scorers
    found = scorer_diff(tables, recorded, first, second, end - timedelta(hours=hours), end)
    if as_json:
        tell_json(said_diff(found))
    else:
        _print_diff(found)


def hours_of(text: str) -> float:
    """Raises ConfigError for what is no length of time."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([mhd])", text)
    if match is None or not float(match[1]):
        raise ConfigError(f"--window {text} is no length of time; write it like 24h, 90m or 7d")
    return float(match[1]) * HOURS[match[2]]


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--until {text} is no time; write it like 2026-11-20T12:00:00Z") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """Shown as soon as rounds are scored, if any are."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("rounds scored", total=count, visible=False)
        yield lambda done: bar.update(task, advance=done, visible=True)


def said_whatif(found: WhatIf) -> dict[str, Any]:
    """As JSON has it."""
    chance = found.spread
    return {
        "epoch": found.epoch,
        "changed": found.changes.said(),
        "how": found.how.value,
        "exact": found.exact,
        "verified": not found.differing,
        "differing": list(found.differing),
        "rounds": found.rounds,
        "of_rounds": found.of_rounds,
        "seed": None if found.exact else found.effort.seed,
        "profile": found.after.proposal.profile,
        "refused": found.after.refused,
        **_figures(found.diff),
        "total_variation": found.diff.total_variation if chance is None else chance.total_variation,
        "total_variation_interval": None if chance is None else [chance.between.low, chance.between.high],
        "miners": [_miner(found, each.hotkey, each.before, each.after) for each in found.diff.moves],
        "acts": [
            {"rule": each.rule, "hotkey": each.hotkey, "was": _act(each.was), "would": _act(each.would)}
            for each in found.acts
        ],
        "unscorable": list(found.unscorable),
    }


def _miner(found: WhatIf, hotkey: Any, before: float, after: float) -> dict[str, Any]:
    about = {"hotkey": hotkey, "had": found.had.get(hotkey, 0.0), "before": before, "after": after}
    between = found.interval(hotkey)
    interval = None if between is None else [between.low, between.high]
    return {**about, "change": after - before, "change_interval": interval}


def _act(act: Any) -> dict[str, Any] | None:
    return None if act is None else {"before": act.before, "after": act.after, "reason": act.reason}


def said_diff(found: ScorerDiff) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "a": _scorer(found.a, found.a_rounds, found.before),
        "b": _scorer(found.b, found.b_rounds, found.after),
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "rounds": found.rounds,
        "policy_of_epoch": found.epoch,
        **_figures(found.diff),
        "miners": [
            {"hotkey": each.hotkey, "a": each.before, "b": each.after, "change": each.change}
            for each in found.diff.moves
        ],
        "missing": list(found.missing),
    }


def _scorer(scorer: Any, rounds: int, weighed: Any) -> dict[str, Any]:
    about = {"scorer": scorer.said, "profile": scorer.profile.name, "rounds": rounds}
    return {**about, "versions": dict(weighed.earned.versions), "refused": weighed.refused}


def _figures(diff: WeightDiff) -> dict[str, Any]:
    return {
        "total_variation": diff.total_variation,
        "rank_correlation": diff.rank_correlation,
        "expected_vtrust": diff.vtrust,
        "newly_flagged": _flags(diff.newly_flagged),
        "no_longer_flagged": _flags(diff.no_longer_flagged),
    }


def _flags(flags: Sequence[Flag]) -> list[Mapping[str, str]]:
    return [{"hotkey": each.hotkey, "by": each.by, "why": each.why} for each in flags]


def _print_whatif(found: WhatIf) -> None:
    out.print(f"epoch {found.epoch}, changed: {escape(found.changes.said())}", highlight=False, soft_wrap=True)
    if found.differing:
        said = "; ".join(found.differing)
        line = f"[red]with nothing changed the epoch's weights do not come out again[/]: {escape(said)}"
        out.print(line, highlight=False, soft_wrap=True)
    else:
        out.print("with nothing changed the epoch's weights come out again, bit for bit", highlight=False)
    out.print(escape(_how(found)), highlight=False, soft_wrap=True)
    if found.unscorable:
        out.print(f"{len(found.unscorable)} rounds cannot be scored: {escape(found.unscorable[0])}", soft_wrap=True)
    if found.after.refused:
        out.print(f"[red]no weights could be set[/]: {escape(found.after.refused)}", highlight=False, soft_wrap=True)
    sampled = found.spread is not None
    table = Table("hotkey", "had", *(("in the sample",) if sampled else ()), "would have", "change")
    for each in found.diff.moves[:SHOWN]:
        between = found.interval(each.hotkey)
        change = f"{each.change:+.3%}" + (f" ± {between.high - each.change:.3%}" if between else "")
        had = (f"{found.had.get(each.hotkey, 0.0):.3%}", *((f"{each.before:.3%}",) if sampled else ()))
        table.add_row(_short(each.hotkey), *had, f"{each.after:.3%}", change)
    _print_moves(table, found.diff)
    _print_figures(found.diff, found.spread)
    for act in found.acts[:SHOWN]:
        was, would = (f"{each.before:.3%} to {each.after:.3%}" if each else "nothing" for each in (act.was, act.would))
        line = f"{act.rule} {_short(act.hotkey)}: did {was}, would do {would}"
        out.print(escape(line), highlight=False, soft_wrap=True)
    if len(found.acts) > SHOWN:
        out.print(f"and {len(found.acts) - SHOWN} more acts of rules that differ", highlight=False)


def _how(found: WhatIf) -> str:
    if not found.exact:
        return (
            f"from {found.rounds} of {found.of_rounds} rounds, drawn by seed {found.effort.seed} and scored anew; both "
            "sides on these rounds, 95 % intervals by drawing them again"
        )
    anew = ", all scored anew" if found.how.value == "rescored" else ", from stored rows"
    return f"exact: {found.rounds} rounds{anew}"


def _print_moves(table: Table, diff: WeightDiff) -> None:
    out.print(table)
    if len(diff.moves) > SHOWN:
        rest = math.fsum(abs(each.change) for each in diff.moves[SHOWN:])
        left = len(diff.moves) - SHOWN
        out.print(f"and {left} more, whose changes come to {rest:.3%} without their signs", highlight=False)


def _print_figures(diff: WeightDiff, chance: Spread | None = None) -> None:
    ranks = "all alike" if diff.rank_correlation is None else f"{diff.rank_correlation:.3f}"
    moved = f"{diff.total_variation:.3%}"
    if chance is not None:
        moved = f"{chance.total_variation:.3%} ({chance.between.low:.3%} to {chance.between.high:.3%})"
    out.print(
        f"total variation {moved}, rank correlation {ranks}, expected vtrust {diff.vtrust:.3f}",
        highlight=False,
        soft_wrap=True,
    )
    for said, flags in (("newly flagged", diff.newly_flagged), ("no longer flagged", diff.no_longer_flagged)):
        for each in flags[:SHOWN]:
            line = f"{said}: {_short(each.hotkey)} by {each.by}: {each.why}"
            out.print(escape(line), highlight=False, soft_wrap=True)
        if len(flags) > SHOWN:
            out.print(f"and {len(flags) - SHOWN} more {said}", highlight=False)


def _print_diff(found: ScorerDiff) -> None:
    out.print(
        f"{found.rounds} rounds have both: {found.a_rounds} {escape(found.a.said)}, {found.b_rounds} "
        f"{escape(found.b.said)}; {found.since:%F %T} to {found.until:%F %T} UTC; policy of epoch {found.epoch}",
        highlight=False,
        soft_wrap=True,
    )
    for line in found.missing:
        out.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)
    for scorer, weighed in ((found.a, found.before), (found.b, found.after)):
        if weighed.refused:
            line = f"[red]no weights under {escape(scorer.said)}[/]: {escape(weighed.refused)}"
            out.print(line, highlight=False, soft_wrap=True)
    table = Table("hotkey", escape(found.a.said), escape(found.b.said), "change")
    for each in found.diff.moves[:SHOWN]:
        table.add_row(_short(each.hotkey), f"{each.before:.3%}", f"{each.after:.3%}", f"{each.change:+.3%}")
    _print_moves(table, found.diff)
    _print_figures(found.diff)


def _short(hotkey: str) -> str:
    return hotkey if len(hotkey) <= FIRST + LAST + 1 else f"{hotkey[:FIRST]}…{hotkey[-LAST:]}"

"""`loosh whatif` and `loosh diff`: weights as they would be otherwise, from what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loosh_pipeline.audit.lengths import hours_in
from loosh_pipeline.cli.allowed import completing
from loosh_pipeline.cli.rescoring import profiles
from loosh_pipeline.cli.telling import AsJson, err, tell_json
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings

if TYPE_CHECKING:
    from loosh_pipeline.audit.whatif import Effort, WhatIf

SAMPLE = 1_000
"""Rounds: two processors score them in some ten seconds."""

Epoch = Annotated[str, typer.Option(metavar="NUMBER", help="of `loosh audit list`; the newest that the chain took")]


def whatif(
    epoch: Epoch = "latest",
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="HOTKEY", help="as if it had not been asked in these rounds; may be repeated"),
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
        int | None,
        typer.Option(min=2, help=f"rounds that are scored anew where stored rows cannot say it; {SAMPLE} by default"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="by which they are drawn")] = 0,
    full: Annotated[bool, typer.Option("--full", help="score all of them anew")] = False,
    as_json: AsJson = False,
) -> None:
    """The weights of an epoch as they would have been otherwise, beside those that were set.

    First they are worked out with nothing changed. Ends with 0, or 1 when that does not give the epoch's weights, or
    when no weights could be set of what comes out. What a check would hold up is told.
    """
    from loosh_pipeline.audit.otherwise_said import said_whatif
    from loosh_pipeline.audit.whatif import Effort
    from loosh_pipeline.cli.counterfactual_text import print_whatif

    if full and sample is not None:
        raise ConfigError("--full scores all rounds and --sample some of them; give one of the two")
    effort = Effort(sample or SAMPLE, seed, full)
    found = _asked(epoch, effort, set_ or [], profile, without or [], no_sybil)
    if as_json:
        tell_json(said_whatif(found))
    else:
        print_whatif(found)
    if found.differing or found.after.refused:
        raise typer.Exit(1)


def _asked(
    epoch: str, effort: Effort, pairs: list[str], profile: str | None, left_out: list[str], no_sybil: bool
) -> WhatIf:
    """With a bar once rounds are scored."""
    from loosh_pipeline.audit.changes import changes
    from loosh_pipeline.audit.recorded import recorded_epoch
    from loosh_pipeline.audit.whatif import what_if
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    settings = get_settings()
    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    recorded = recorded_epoch(inbox.engine, tables, epoch)
    wanted = changes(pairs, recorded.profile, profile, left_out, no_sybil)
    rounds = recorded.counted.height if effort.full else min(effort.sample, recorded.counted.height)
    with _progress(rounds) as advance:
        return what_if(tables, inbox, recorded, wanted, effort, advance)


def diff(
    a: Annotated[str, typer.Option(metavar="SCORER", help="a profile, one like robust:power=5, or a version's hash")],
    b: Annotated[str, typer.Option(metavar="SCORER", help="the same; what it would change beside a")],
    window: Annotated[str, typer.Option(help="of which rounds, like 24h or 7d")] = "24h",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601; now without it")] = None,
    as_json: AsJson = False,
) -> None:
    """Weights under two scorers, both of stored rows, after the policy of the newest epoch.

    What is not stored is made by `loosh rescore`; the command is told. Ends with 0, or 1 when no round has both, or
    when no weights could be set under one of them.
    """
    from loosh_pipeline.audit.otherwise_said import said_diff
    from loosh_pipeline.audit.recorded import recorded_epoch
    from loosh_pipeline.audit.scorer_diff import scorer_diff
    from loosh_pipeline.audit.stored_rows import scorer_named
    from loosh_pipeline.cli.counterfactual_text import print_diff
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    settings, end = get_settings(), datetime.now(UTC) if until is None else _time(until)
    hours = hours_of(window)
    tables, inbox = Tables(settings.tables_root), Inbox.open(settings.inbox_url)
    scorers = [scorer_named(tables, each) for each in (a, b)]
    recorded = recorded_epoch(inbox.engine, tables)
    first, second = scorers
    found = scorer_diff(tables, recorded, first, second, end - timedelta(hours=hours), end)
    if as_json:
        tell_json(said_diff(found))
    else:
        print_diff(found)
    if found.before.refused or found.after.refused:
        raise typer.Exit(1)


def hours_of(text: str) -> float:
    """Raises ConfigError for what is no length of time."""
    hours = hours_in(text)
    if not hours:
        raise ConfigError(f"--window {text} is no length of time; write it like 24h, 90m or 7d")
    return hours


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

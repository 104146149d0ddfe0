"""`loosh status`, `loosh doctor`, `loosh retry`: how a validator is, and taking up what it gave up."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from pydantic import ValidationError
from rich.markup import escape

from loosh_pipeline.cli.telling import AsJson, err, out, problems_of, tell_json
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings

if TYPE_CHECKING:
    from loosh_pipeline.doctor.finding import Finding

COLOURS = {"ok": "green", "look": "yellow", "wrong": "red"}


def status(as_json: AsJson = False) -> None:
    """Say how far accepted challenges have come, what waits to be told, and which processes run."""
    from loosh_pipeline.status import status_facts, status_tables

    settings = get_settings()
    if as_json:
        tell_json(status_facts(settings))
        return
    for table in status_tables(settings):
        out.print(table)


def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with this validator, and what to do: a line for each thing that is looked at.

    Ends with 0 when nothing is wrong, and with 1 when something keeps the validator from its work.
    """
    found = _found()
    if as_json:
        tell_json([asdict(each) for each in found])
    else:
        _print(found)
        out.print(_summary(found))
    _leave(int(any(each.verdict == "wrong" for each in found)))


def _leave(code: int) -> None:
    """Now, also while something hangs: Python would wait at its end for a name that is being looked up, half a minute.

    Where stdout is another's, this process is, too.
    """
    from loosh_pipeline.doctor.checkup import hangs

    if hangs() and sys.stdout is sys.__stdout__:
        out.file.flush()
        err.file.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def _found() -> list[Finding]:
    """Settings that cannot be read are a finding as well, and leave little else to look at."""
    from loosh_pipeline.doctor.checkup import examined
    from loosh_pipeline.doctor.diagnosing import diagnosis, program
    from loosh_pipeline.doctor.finding import Finding

    try:
        return diagnosis(get_settings())
    except ValidationError as error:
        wrong = problems_of(error)
    except ConfigError as error:
        wrong = [str(error)]
    todo = "set it right in the environment or in .env (`loosh config show` says what there is), and look again"
    return [*examined(program()), *(Finding("settings", "wrong", each, todo) for each in wrong)]


def _print(found: Sequence[Finding]) -> None:
    """A line each, however wide the terminal is, and another for what to do."""
    width = max(len(each.subject) for each in found)
    for each in found:
        mark = f"[{COLOURS[each.verdict]}]{each.verdict:<5}[/]"
        out.print(f"{mark}  {each.subject:<{width}}  {escape(each.said)}", highlight=False, soft_wrap=True)
        if each.todo:
            out.print(f"{'':<{width + 9}}→ {escape(each.todo)}", highlight=False, soft_wrap=True)


def _summary(found: Sequence[Finding]) -> str:
    wrong, look = (sum(each.verdict == verdict for each in found) for verdict in ("wrong", "look"))
    if not wrong and not look:
        return "nothing is wrong"
    return f"{wrong} wrong, {look} to look at"


def retry(as_json: AsJson = False) -> None:
    """Take up again what was given up: challenges parked as failed, and results that the Challenge API refused."""
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.outbox import Outbox

    now = datetime.now(UTC)
    inbox = Inbox.open(get_settings().inbox_url)
    challenges, results = inbox.unpark(now), Outbox(inbox.engine).unpark(now)
    if as_json:
        tell_json({"challenges": challenges, "results": results})
    else:
        out.print(f"{challenges} challenges get another run, {results} results are told again")

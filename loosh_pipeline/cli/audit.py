"""`loosh audit …`: bundles that let a stranger check weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperCommand
from typer.exceptions import TyperException

from loosh_pipeline.audit.refusals import NOT_TRIED
from loosh_pipeline.cli.telling import NOT_YET, AsJson, err, out, tell_json, telling
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings

if TYPE_CHECKING:
    from loosh_pipeline.audit.content import Seal
    from loosh_pipeline.audit.desk import Sealed
    from loosh_pipeline.audit.verify import ChainSaid, Known

SHOWN = 20
DIGEST_CHARS = 16


def list_(as_json: AsJson = False) -> None:
    """Show the newest weights that were set, and their seals. Ends with 3 when none were set yet."""
    from loosh_pipeline.audit.desk import Desk

    found = Desk(get_settings()).submitted(SHOWN)
    if as_json:
        tell_json({"epochs": [_facts(each) for each in found]})
    elif found:
        out.print(_table(found))
        err.print("whole roots: loosh audit list --json", highlight=False)
    else:
        out.print("no weights were set yet")
    if not found:
        raise typer.Exit(NOT_YET)


def _facts(each: Sealed) -> dict[str, Any]:
    row, seal = each.row, None if each.kept is None else each.kept.signed.seal
    about = {"epoch": row.id, "submitted_at": row.created_at.isoformat(), "state": row.state.value}
    if seal is None:
        return about | dict.fromkeys(("root", "rounds", "challenges", "sealed_block", "sample_block"))
    counts = {name: seal.parts[name].leaves for name in ("rounds", "challenges")}
    return about | {"root": seal.root, **counts, "sealed_block": seal.sealed_block, "sample_block": seal.sample_block}


def _table(found: list[Sealed]) -> Table:
    columns = ("epoch", "submitted (UTC)", "state", "rounds", "root", "drawn by block")
    table = Table(*columns, box=None, header_style="bold")
    for facts in map(_facts, found):
        when = facts["submitted_at"][:19].replace("T", " ")
        sealed = facts["root"] is not None
        seal = (str(facts["rounds"]), f"{facts['root'][:DIGEST_CHARS]}…", str(facts["sample_block"])) if sealed else ()
        table.add_row(str(facts["epoch"]), when, facts["state"], *(seal or ("", "not sealed", "")))
    return table


def export(
    epoch: Annotated[str, typer.Option(help="number as in `loosh audit list`, or latest")] = "latest",
    rounds: Annotated[
        str, typer.Option(help="shown whole: all, none, or so many that a block draws after the seal")
    ] = "50",
    redact: Annotated[bool, typer.Option("--redact", help="words stand for texts: what was said is not shown")] = False,
    file: Annotated[Path | None, typer.Option("--out", help="where to; else epoch-N.loosh-audit here")] = None,
    as_json: AsJson = False,
) -> None:
    """Write everything that decided an epoch's weights into one file that anybody can verify.

    Ends with 3 while the block is not final that draws the sample, 1 when something of the epoch is gone or was written
    over since it was sealed.
    """
    from loosh_pipeline.audit import desk as desks
    from loosh_pipeline.audit.exporting import Wanted
    from loosh_pipeline.audit.exporting import export as write
    from loosh_pipeline.audit.file import Level
    from loosh_pipeline.chain.process import ProcessChain
    from loosh_pipeline.chain.wallet import load_signer

    settings = get_settings()
    level, count = desks.level_of(rounds)
    desk = desks.Desk(settings)
    row, kept = desk.epoch(epoch)
    seal = kept.signed.seal
    sample = desks.sample_of(ProcessChain(settings), seal, count) if level is Level.SAMPLE else None
    if level is Level.SAMPLE and sample is None:
        err.print(f"not yet: block {seal.sample_block}, which draws the sample, is not final", highlight=False)
        raise typer.Exit(NOT_YET)
    signer = load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    path = file or Path(f"epoch-{row.id}.loosh-audit")
    shown = {Level.FULL: seal.parts["rounds"].leaves, Level.ROWS: 0}.get(level, min(count, seal.parts["rounds"].leaves))
    with _progress("rounds", shown) as advance:
        wanted = Wanted(level, sample, redact)
        write(path, desk.tables, desk.inbox, row, kept, signer, wanted, lambda: advance(None))
    size = path.stat().st_size
    said = {"file": str(path), "bytes": size, "epoch": row.id, "root": seal.root, "level": level.value}
    if as_json:
        tell_json(said | {"rounds": shown, "redacted": redact})
        return
    what = f"epoch {row.id}, {shown} of {seal.parts['rounds'].leaves} rounds whole" + (", redacted" if redact else "")
    out.print(f"{path}: {size / 1e6:.1f} MB, {what}, root {seal.root}", highlight=False, soft_wrap=True)


def verify(
    file: Annotated[Path, typer.Argument(help="a bundle")],
    chain: Annotated[bool, typer.Option("--chain", help="compare with SUBTENSOR_ADDRESS too")] = False,
    root: Annotated[str | None, typer.Option(help="of the seal, taken down before its sample was drawn")] = None,
    block_hash: Annotated[
        str | None, typer.Option(help="of the block that draws the sample, in place of --chain")
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEQ:DIGEST:SIGNATURE", help="an X-Challenge-Link, with or without its signature; repeat it"
        ),
    ] = None,
    least: Annotated[str, typer.Option(help="no match below this level: rows, sample or full")] = "rows",
    debug: Annotated[bool, typer.Option("--debug", help="raise what goes wrong in the verifier itself")] = False,
    as_json: AsJson = False,
) -> None:
    """Work an epoch's weights out again from a bundle: match (0), mismatch (1) or unverifiable (2).

    Ends with 64, as no verdict was reached, for wrong usage, a file that cannot be read, a chain that does not answer.

    `python -m loosh_pipeline.audit.verify FILE` does the same where nothing else of this program is installed.
    """
    from loosh_pipeline.audit.report import told
    from loosh_pipeline.audit.verify import ChainSaid
    from loosh_pipeline.audit.verify import verify as verified
    from loosh_pipeline.plain import plain

    with _or_not_tried():
        given = _given(file, root, block_hash, link or [], least)
        said = (_chain_said(file, get_settings()) if chain else None) or ChainSaid()
    if given.chain.block_hash is not None and said.block_hash is None:
        said = replace(said, block_hash=given.chain.block_hash)
    with _progress("rounds", None) as advance:
        report = verified(
            file,
            root=given.root,
            chain=said,
            links=given.links,
            least=given.least,
            progress=lambda at, of: advance((at, of)),
            debug=debug,
        )
    if as_json:
        tell_json(plain(report))
    else:
        out.print(escape(told(report)), highlight=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)


@contextmanager
def _or_not_tried() -> Iterator[None]:
    """What goes wrong before anything is verified is told as ever, and ends with the code of no verdict."""
    try:
        with telling():
            yield
    except typer.Exit as ended:
        raise typer.Exit(NOT_TRIED) from ended


class Verifying(TyperCommand):
    """Options that there are not end with the code of no verdict too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            err.print(
                f"[red]error:[/] {escape(str(error))}; see loosh audit verify --help", highlight=False, soft_wrap=True
            )
            raise typer.Exit(NOT_TRIED) from error


def _given(file: Path, root: str | None, block_hash: str | None, links: list[str], least: str) -> Known:
    """What was given on the command line. Raises ConfigError for what cannot be."""
    from loosh_pipeline.audit.given import read_file, read_hash, read_level, read_link, read_root
    from loosh_pipeline.audit.verify import ChainSaid, Known

    try:
        read_file(str(file))
        said = ChainSaid(None if block_hash is None else read_hash(block_hash))
        given = None if root is None else read_root(root)
        return Known(given, said, tuple(map(read_link, links)), read_level(least))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _chain_said(file: Path, settings: Settings) -> ChainSaid | None:
    """None for a file of which nobody can say which epoch it is of: verifying it says what is wrong."""
    from loosh_pipeline.audit.desk import chain_said
    from loosh_pipeline.audit.file import open_bundle
    from loosh_pipeline.audit.refusals import Altered, Unreadable
    from loosh_pipeline.chain.process import ProcessChain

    try:
        seal: Seal = open_bundle(file).manifest.seal.seal
    except (Altered, Unreadable, OSError):
        return None
    found, why = chain_said(ProcessChain(settings), seal)
    if why:
        err.print(f"the weights themselves are not compared: {escape(why)}", highlight=False, soft_wrap=True)
    return found


@contextmanager
def _progress(what: str, count: int | None) -> Iterator[Callable[[tuple[int, int] | None], None]]:
    """A bar on stderr; told nothing it goes on by one, else to where it is told of how many."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=count)

        def advance(at: tuple[int, int] | None) -> None:
            if at is None:
                bar.advance(task)
            else:
                bar.update(task, completed=at[0], total=at[1])

        yield advance

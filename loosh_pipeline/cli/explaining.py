"""`loosh explain`: why a miner has its weight, down to single answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loosh_pipeline.cli.telling import AsJson, err, out
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import get_settings

if TYPE_CHECKING:
    from loosh_pipeline.audit.receipt import Receipt


def _json(receipt: Receipt) -> str:
    return json.dumps(receipt.as_json())


def explain(
    miner: Annotated[str, typer.Argument(metavar="HOTKEY", help="a hotkey, its beginning, or a uid of these weights")],
    epoch: Annotated[str, typer.Option(help="number of a setting of weights, or the newest the chain took")] = "latest",
    round_: Annotated[
        list[str] | None, typer.Option("--round", help="a challenge to show in full; may be repeated")
    ] = None,
    most: Annotated[
        int, typer.Option("--rounds", min=0, max=100, help="how many of the best, and of the worst, to show in full")
    ] = 3,
    as_html: Annotated[bool, typer.Option("--html", help="one page that needs nothing else")] = False,
    to: Annotated[Path | None, typer.Option("--out", dir_okay=False, help="a file to write to, not stdout")] = None,
    as_json: AsJson = False,
) -> None:
    """Say why a miner has its weight: what it was asked, answered and paid, what each rule did, and in which tables.

    Stored tables are read, and none is written. Ends with 0 for a miner without a weight too: it says why.
    """
    if as_html and as_json:
        raise ConfigError("--html and --json are two forms; give one")
    # Imported here: other commands pay for none of it.
    from loosh_pipeline.audit.kept_epoch import Epoch
    from loosh_pipeline.audit.receipt_page import receipt_page
    from loosh_pipeline.audit.receipt_text import receipt_text
    from loosh_pipeline.audit.receipts import receipt_for
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.tables import Tables

    settings = get_settings()
    read = Epoch.read(Tables(settings.tables_root), Inbox.open(settings.inbox_url), epoch)
    receipt = receipt_for(read, miner, most, round_ or ())
    said = _json(receipt) if as_json else receipt_page(receipt) if as_html else receipt_text(receipt)
    if to is None:
        typer.echo(said)
        return
    to.write_text(said + "\n", encoding="utf-8")
    (err if as_json else out).print(f"written to {to}", highlight=False, soft_wrap=True, markup=False)

"""`loosh wallet …`: keys of this validator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from loosh_pipeline.cli.telling import AsJson, out, tell_json
from loosh_pipeline.settings import get_settings


def new(
    name: Annotated[str | None, typer.Option(help="WALLET_NAME by default")] = None,
    hotkey: Annotated[str | None, typer.Option(help="HOTKEY_NAME by default")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a hotkey (and a coldkey when there is none) in the standard place. No secret is printed."""
    from loosh_pipeline.chain.wallet import create_wallet

    settings = get_settings()
    info = create_wallet(settings.wallet_path, name or settings.wallet_name, hotkey or settings.hotkey_name)
    if as_json:
        tell_json(asdict(info))
        return
    table = Table(title=f"wallet {info.name} in {info.directory}", show_header=False)
    table.add_row(f"hotkey {info.hotkey_name}", info.hotkey)
    table.add_row("coldkey" + (" (new)" if info.coldkey_created else ""), info.coldkey)
    out.print(table)
    if info.coldkey_created:
        out.print("On a real network, move the file `coldkey` to a safe machine: the validator never reads it.")

"""The keys: whether they are there and usable, and whether others can read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from loosh_pipeline.chain.wallet import HotkeySigner, hotkey_file, load_signer
from loosh_pipeline.doctor.finding import Finding, look, ok, parts, wrong
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def signer_of(settings: Settings) -> HotkeySigner | ConfigError:
    """The hotkey that signs, or why there is none."""
    try:
        return load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    except ConfigError as error:
        return error


def wallet(settings: Settings, devnet: bool) -> Iterator[Finding]:
    """`devnet`: keys of a subnet on this machine are worth nothing."""
    signer = signer_of(settings)
    if isinstance(signer, ConfigError):
        yield wrong("wallet", *parts(signer))
        return
    file = hotkey_file(settings.wallet_path, settings.wallet_name, settings.hotkey_name)
    if (mode := stat.S_IMODE(file.stat().st_mode)) & OTHERS:
        yield look("wallet", f"others on this machine can reach the hotkey {file} (mode {mode:o})", f"chmod 600 {file}")
    coldkey = file.parent.parent / "coldkey"
    if not devnet and _is_there(coldkey):
        todo = "move it to a machine that nobody reaches; the validator needs coldkeypub.txt and the hotkey alone"
        yield look("wallet", f"the private coldkey lies on this machine ({coldkey})", todo)
    yield ok("wallet", f"hotkey {signer.ss58_address} ({settings.wallet_name}/{settings.hotkey_name})")


def _is_there(file: Path) -> bool:
    return os.path.lexists(file)

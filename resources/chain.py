"""The chain, and the hotkey that speaks for this validator."""

from __future__ import annotations

import dagster as dg

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.wallet import hotkey_file, load_signer
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.wire.crypto import Signer
from resources.once import Once


@dg.resource(description="The chain at SUBTENSOR_ADDRESS, every call in a process that is killed at its deadline.")
def chain_resource(_context: dg.InitResourceContext) -> Chain:
    return ProcessChain(get_settings())


def hotkey_stamp(settings: Settings) -> tuple[int, int, int] | None:
    """Another one whenever the hotkey's file was written again or replaced; None while there is none."""
    try:
        found = hotkey_file(settings.wallet_path, settings.wallet_name, settings.hotkey_name).stat()
    except (OSError, ConfigError):
        return None  # what is wrong with it is said by who loads it
    return found.st_mtime_ns, found.st_ino, found.st_size


process_signer = Once(
    lambda settings: load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name), hotkey_stamp
)


@dg.resource(description="The hotkey of WALLET_NAME and HOTKEY_NAME; the coldkey is never read.")
def signer_resource(_context: dg.InitResourceContext) -> Signer:
    return process_signer(get_settings())

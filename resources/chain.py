"""The chain, and the hotkey that speaks for this validator."""

from __future__ import annotations

import dagster as dg

from loosh_pipeline.chain.port import Chain
from loosh_pipeline.chain.process import ProcessChain
from loosh_pipeline.chain.wallet import load_signer
from loosh_pipeline.settings import get_settings
from loosh_pipeline.wire.crypto import Signer
from resources.once import Once


@dg.resource(description="The chain at SUBTENSOR_ADDRESS, every call in a process that is killed at its deadline.")
def chain_resource(_context: dg.InitResourceContext) -> Chain:
    return ProcessChain(get_settings())


process_signer = Once(lambda settings: load_signer(settings.wallet_path, settings.wallet_name, settings.hotkey_name))


@dg.resource(description="The hotkey of WALLET_NAME and HOTKEY_NAME; the coldkey is never read.")
def signer_resource(_context: dg.InitResourceContext) -> Signer:
    return process_signer(get_settings())

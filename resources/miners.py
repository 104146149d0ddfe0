"""Asking miners over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import dagster as dg

from loosh_pipeline.domain import Challenge, Neuron, Response
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.miner_client import ask_miners


class Miners(Protocol):
    """Whoever can put a challenge to miners: one response for each neuron, in order."""

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]: ...


class WireMiners:
    """The real miners, over HTTP and the fiber protocol."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]:
        return asyncio.run(
            ask_miners(
                neurons,
                challenge,
                signer=signer,
                timeout_s=self._settings.challenge_timeout_s,
                max_response_bytes=self._settings.max_response_bytes,
                allow_private=self._settings.allow_private_addresses,
            )
        )


@dg.resource(description="Miners at the addresses that the metagraph gives.")
def miners_resource(_context: dg.InitResourceContext) -> Miners:
    return WireMiners(get_settings())

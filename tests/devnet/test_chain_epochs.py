"""Epochs start where the SDK expects them to: its own simulation decides when a commit can be opened."""

from __future__ import annotations

import time
from collections.abc import Callable

import bittensor_core
import pytest

from loosh_pipeline.devnet.chain import DevnetChain
from loosh_pipeline.devnet.chain.calls import Event
from loosh_pipeline.devnet.chain.epochs import MAX_TEMPO_BLOCKS, next_epoch_block
from loosh_pipeline.devnet.chain.state import MutableState
from tests.devnet.chain_client import NETUID, new_chain

BLOCK_TIME_S = 30_000
"""So long that the time of the test does not show in the round, of which there is one every 3 seconds."""
ROUND_S, GENESIS_S = 3, 1_692_803_367
SAFETY_BLOCKS = 3
"""The SDK seals for a round this much later, within the epoch: until then the chain looks for its pulse in vain."""


def blocks_to_the_reveal(chain: DevnetChain) -> int:
    """How many blocks after the head the SDK expects a commit of the next block to be opened."""
    state = chain.state()
    names = ("LastEpochBlock", "PendingEpochAt", "SubnetEpochIndex", "Tempo", "BlocksSinceLastStep")
    last, pending, index, tempo, since = (state.get(name, NETUID) for name in names)
    _, reveal_round = bittensor_core.get_encrypted_commit_v2(
        uids=[1],
        weights=[1],
        version_key=0,
        last_epoch_block=last,
        pending_epoch_at=pending,
        subnet_epoch_index=index,
        tempo=tempo,
        blocks_since_last_step=since,
        current_block=chain.head.number,
        subnet_reveal_period_epochs=state.get("RevealPeriodEpochs", NETUID),
        block_time=float(BLOCK_TIME_S),
        hotkey=bytes(32),
    )
    return round((GENESIS_S + reveal_round * ROUND_S - time.time()) / BLOCK_TIME_S) - SAFETY_BLOCKS


def shorter_tempo(chain: DevnetChain) -> None:
    chain.set_parameters(tempo_blocks=7)


def longer_tempo(chain: DevnetChain) -> None:
    chain.set_parameters(tempo_blocks=20)


def asked_for(chain: DevnetChain) -> None:
    chain.trigger_epoch(in_blocks=4)


def overdue(chain: DevnetChain) -> None:
    def change(state: MutableState, block: int) -> list[Event]:
        state.put("BlocksSinceLastStep", NETUID, MAX_TEMPO_BLOCKS - 3)
        return []

    chain.administer(change)


def nothing(chain: DevnetChain) -> None:
    pass


@pytest.mark.parametrize("head", [1, 7, 9, 10, 11, 25])
@pytest.mark.parametrize(
    ("happens", "period"),
    [
        *((happens, period) for happens in (nothing, shorter_tempo, longer_tempo, asked_for) for period in (1, 2)),
        (overdue, 1),
    ],
)
def test_epochs_start_when_the_sdk_expects_them(head: int, period: int, happens: Callable[[DevnetChain], None]) -> None:
    chain = new_chain(tempo_blocks=10, reveal_period_epochs=period)
    chain.tick(head)
    happens(chain)
    expected = chain.head.number + blocks_to_the_reveal(chain)
    chain.tick()
    committed_in = chain.state().get("SubnetEpochIndex", NETUID)
    while chain.state().get("SubnetEpochIndex", NETUID) < committed_in + period:
        chain.tick()
    assert chain.head.number == expected


def test_the_next_epoch_is_told_of() -> None:
    chain = new_chain(tempo_blocks=10)
    chain.tick(12)
    assert next_epoch_block(chain.state(), NETUID) == 20
    chain.trigger_epoch(in_blocks=3)
    assert next_epoch_block(chain.state(), NETUID) == 16

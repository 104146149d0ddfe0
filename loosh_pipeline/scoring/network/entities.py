"""What a vote in consensus weighs when hotkeys share an address or an owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.round import Node

NO_ADDRESS = frozenset({"", "0", "0.0.0.0"})
"""Addresses of a miner that serves nowhere."""


def entity_weights(
    hotkeys: Sequence[Hotkey], nodes: Mapping[Hotkey, Node], profile: NetworkProfile
) -> NDArray[np.float64]:
    """The vote of every hotkey, (n,), in the order given.

    Hotkeys of one address share `entity_votes`; of those that share none, hotkeys of one coldkey do. A hotkey that
    an address caps does not count for its coldkey, so an owner of several addresses has several votes.
    """
    addresses = {
        hotkey: nodes[hotkey].ip for hotkey in hotkeys if hotkey in nodes and nodes[hotkey].ip not in NO_ADDRESS
    }
    votes = _shared(addresses, profile)
    coldkeys = {
        hotkey: nodes[hotkey].coldkey
        for hotkey in hotkeys
        if hotkey in nodes and hotkey not in votes and nodes[hotkey].coldkey
    }
    votes |= _shared(coldkeys, profile)
    return np.array([votes.get(hotkey, 1.0) for hotkey in hotkeys], dtype=np.float64)


def _shared(owners: Mapping[Hotkey, str], profile: NetworkProfile) -> dict[Hotkey, float]:
    """The vote of every hotkey whose owner has enough of them."""
    members: dict[str, list[Hotkey]] = {}
    for hotkey, owner in owners.items():
        members.setdefault(owner, []).append(hotkey)
    return {
        hotkey: min(1.0, profile.entity_votes / len(group))
        for group in members.values()
        if len(group) >= profile.entity_min_group
        for hotkey in group
    }

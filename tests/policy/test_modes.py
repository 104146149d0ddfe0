"""How pressing it is, by the chain's own cutoff."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loosh_pipeline.domain import Hotkey, Mode
from loosh_pipeline.policy.modes import lookbacks_h, mode_of
from tests.policy.cases import OWN, miner, subnet


@pytest.mark.parametrize(
    ("blocks_since", "cutoff", "mode"),
    [
        (3999, 5000, Mode.NORMAL),
        (4000, 5000, Mode.DEGRADED),
        (4499, 5000, Mode.DEGRADED),
        (4500, 5000, Mode.EMERGENCY),
        (9999, 5000, Mode.EMERGENCY),
        (1200, 1388, Mode.DEGRADED),
        (1250, 1388, Mode.EMERGENCY),
        (4500, 18_000, Mode.NORMAL),
    ],
)
def test_w_24_modes_follow_the_cutoff_that_the_chain_says(blocks_since: int, cutoff: int, mode: Mode) -> None:
    there = subnet(miner("a"), blocks_since=blocks_since, activity_cutoff_blocks=cutoff)
    assert mode_of(there, OWN) is mode


def test_who_never_set_weights_has_nothing_to_lose_yet() -> None:
    there = subnet(miner("a"), blocks_since=100_000)
    fresh = replace(there, neurons=(replace(there.neurons[0], last_update=0), *there.neurons[1:]))
    assert mode_of(fresh, OWN) is Mode.NORMAL
    assert mode_of(there, Hotkey("stranger")) is Mode.NORMAL


def test_registration_is_no_setting_of_weights() -> None:
    """The chain takes it for an update: a validator that waits for its first rounds must not run into an emergency."""
    there = subnet(miner("a"), blocks_since=4900)
    registered = replace(there.neurons[0], registered_block=there.neurons[0].last_update)
    assert mode_of(replace(there, neurons=(registered, *there.neurons[1:])), OWN) is Mode.NORMAL
    since = replace(registered, last_update=registered.last_update + 1)
    assert mode_of(replace(there, neurons=(since, *there.neurons[1:])), OWN) is Mode.EMERGENCY


def test_the_operator_may_be_more_careful() -> None:
    there = subnet(miner("a"), blocks_since=2600)
    assert mode_of(there, OWN, degraded_at=0.3, emergency_at=0.5) is Mode.EMERGENCY
    with pytest.raises(ValueError, match="must not be above"):
        mode_of(there, OWN, degraded_at=0.9, emergency_at=0.8)


@pytest.mark.parametrize(
    ("mode", "longest", "found"),
    [
        (Mode.NORMAL, 168.0, (24.0,)),
        (Mode.DEGRADED, 168.0, (24.0, 48.0)),
        (Mode.EMERGENCY, 168.0, (24.0, 48.0, 168.0)),
        (Mode.EMERGENCY, 36.0, (24.0, 48.0)),
    ],
)
def test_s28_longer_lookbacks_come_with_need(mode: Mode, longest: float, found: tuple[float, ...]) -> None:
    """There, "all emissions regardless of age" are those of 24 hours all the same."""
    assert lookbacks_h(mode, 24.0, longest) == found

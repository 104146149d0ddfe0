from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from bittensor_core import Keypair

from tests.world import ANSWERS, PROMPT, World


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def world(own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> World:
    """Most tests are of one round: it is enough to be paid for."""
    monkeypatch.setenv("WEIGHTS_MIN_EVIDENCE_ROUNDS", "1")
    return World(instance)


ROUNDS = 3
MINERS = {Keypair.create_from_uri(f"//miner//{n}").ss58_address: said for n, said in enumerate(ANSWERS.values())}


@pytest.fixture
def addressed(own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> World:
    """Some challenges were evaluated, then weights were set and sealed; hotkeys are real ones."""
    monkeypatch.setenv("WEIGHTS_MIN_EVIDENCE_ROUNDS", "1")
    world = World(instance, MINERS)
    world.refresh_metagraph()
    world.refresh_availability()
    for n in range(ROUNDS):
        world.evaluate(world.accept(f"c-{n}", f"{PROMPT} On day {n} of the journey?"))
    world.set_weights()
    return world

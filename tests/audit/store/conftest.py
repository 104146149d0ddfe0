from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from bittensor_core import Keypair

from tests.homes import Kept, living_in
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


@pytest.fixture(scope="module")
def sealed_once(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Some challenges were evaluated, then weights were set and sealed; hotkeys are real ones."""
    home = tmp_path_factory.mktemp("sealed") / "loosh"
    with living_in(home, WEIGHTS_MIN_EVIDENCE_ROUNDS="1"), dg.DagsterInstance.ephemeral() as instance:
        world = World(instance, MINERS)
        world.refresh_metagraph()
        world.refresh_availability()
        for n in range(ROUNDS):
            world.evaluate(world.accept(f"c-{n}", f"{PROMPT} On day {n} of the journey?"))
        world.set_weights()
        return Kept.of(world, MINERS)


@pytest.fixture
def addressed(
    sealed_once: Kept, own_home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> World:
    """Such a validator, for this test alone."""
    monkeypatch.setenv("WEIGHTS_MIN_EVIDENCE_ROUNDS", "1")
    return sealed_once.again(instance)

"""Sealing what decided the weights that were submitted."""

from __future__ import annotations

from typing import Any

import pytest
from bittensor_core import Keypair

from loosh_pipeline.audit import sealing_epochs
from loosh_pipeline.audit.gathering import content_of
from loosh_pipeline.audit.sealing import SAMPLE_BLOCKS, SignedSeal, part_roots, seal_bytes
from loosh_pipeline.errors import ChainError
from loosh_pipeline.store.seals import SEALS, newest_seals, seal_of_submission
from loosh_pipeline.store.tables import Tables
from tests.world import World, checks_of, metadata_of, newest_submission


@pytest.fixture
def scored(world: World) -> World:
    world.evaluate(world.accept("c-1"))
    return world


def seal_kept(world: World) -> SignedSeal:
    found = seal_of_submission(world.store.tables, newest_submission(world))
    assert found is not None
    return found.signed


def seal(world: World) -> object:
    store, row = world.store, newest_submission(world)
    return sealing_epochs.seal(
        store.tables, store.inbox.engine, row, world.signer, row.plan.block, row.created_at, "9.9.9"
    )


def test_what_was_submitted_is_sealed_by_the_hotkey_in_the_same_run(scored: World) -> None:
    world = scored
    result = world.set_weights()
    said, kept = metadata_of(result, "audit_seals"), seal_kept(world)
    assert (said["sealed"], said["rounds"], said["challenges"]) == (1, 1, 1)
    assert said["root"] == kept.seal.root
    assert kept.seal.sample_block == kept.seal.sealed_block + SAMPLE_BLOCKS == said["sample_block"]
    assert kept.seal.sealed_block == world.chain.metagraph.block
    signer = Keypair(ss58_address=kept.seal.epoch.validator)
    assert signer.verify(seal_bytes(kept.seal), bytes.fromhex(kept.signature))
    content = content_of(world.store.tables, world.store.inbox.engine, newest_submission(world))
    assert part_roots(content) == kept.seal.parts
    assert checks_of(result)["all_sealed"]


def test_a_submission_is_sealed_once(scored: World) -> None:
    scored.set_weights()
    before = seal_kept(scored)
    scored.chain.advance(10)
    assert metadata_of(scored.set_weights("audit_seals"), "audit_seals")["sealed"] == 0
    assert newest_seals(scored.store.tables, 10) == [before]


def test_who_is_killed_before_it_is_kept_seals_the_same_root_later(
    scored: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SignedSeal] = []

    def killed(_tables: Tables, _row: object, kept: Any) -> None:
        made.append(kept.signed)
        raise KeyboardInterrupt

    scored.set_weights("emissions", "weight_proposal", "weights")
    with monkeypatch.context() as patched:
        patched.setattr(sealing_epochs, "keep_seal", killed)
        with pytest.raises(KeyboardInterrupt):
            seal(scored)
    assert scored.store.tables.days(SEALS) == []
    scored.evaluate(scored.accept("c-2"))
    scored.chain.advance(5)
    scored.set_weights("audit_seals")
    assert seal_kept(scored).seal.parts["rounds"] == made[0].seal.parts["rounds"]
    assert seal_kept(scored).seal.parts["documents"] == made[0].seal.parts["documents"]


def test_the_first_of_two_that_seal_at_once_stays(scored: World) -> None:
    world = scored
    world.set_weights()
    first = seal_kept(world)
    assert getattr(seal(world), "signed", None) == first == seal_kept(world)


def test_without_the_chain_nothing_is_sealed_and_the_next_run_does(scored: World) -> None:
    world = scored
    world.set_weights("emissions", "weight_proposal", "weights")
    world.chain.fail("snapshot", ChainError("the line is down"))
    result = world.set_weights("audit_seals")
    assert metadata_of(result, "audit_seals")["not_sealed"] == "the line is down"
    assert metadata_of(world.set_weights("audit_seals"), "audit_seals")["sealed"] == 1


def test_why_weights_cannot_be_sealed_is_said(scored: World) -> None:
    world = scored
    world.set_weights("emissions", "weight_proposal", "weights")
    key = next(world.store.tables.newest_first("proposal_inputs"))
    world.store.tables.remove("proposal_inputs", key)
    result = world.set_weights("audit_seals")
    said = metadata_of(result, "audit_seals")
    assert said["sealed"] == 0
    assert "proposal_inputs" in said["not_sealed"]

"""Copying that no honest pair shows, through the real assets, and the record that the network is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest

from loosh_pipeline.domain import ChallengeId, DeliveryKind
from loosh_pipeline.store.outbox import OutboxState
from tests.test_scoring_adapter import COPIED, COPYING, MINERS, QUESTIONS, answers
from tests.world import World, metadata_of


@pytest.fixture
def world() -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(instance, dict.fromkeys(MINERS, "to be said"))


def evaluate(world: World, rounds: int, copying: bool) -> None:
    for number in range(rounds):
        said = answers(number % len(QUESTIONS))
        # long enough to be evidence, and other words in every round
        said = {
            hotkey: f"{text} {' '.join(f'{hotkey}w{number}x{i}' for i in range(60))}" for hotkey, text in said.items()
        }
        if copying:
            said[COPYING] = said[COPIED].replace("blue", "azure")
        world.miners.answers = said
        challenge_id = world.accept(f"c-{number}", prompt=QUESTIONS[number % len(QUESTIONS)])
        assert world.evaluate(challenge_id, "miner_responses", "embeddings", "consensus_scores").success


def test_who_copies_round_after_round_is_accused_with_the_one_who_is_copied(world: World) -> None:
    evaluate(world, 8, copying=True)
    result = world.set_weights("emissions", "accusations")
    said = metadata_of(result, "accusations")
    assert (said["rounds"], said["accused"], said["groups"]) == (8, 1, 1)
    table = world.store.tables.latest("accusations")
    assert table is not None
    assert table.select("first", "second").rows() == [(COPIED, COPYING)]
    report = json.loads(table["report"][0])
    assert report["validator_hotkey_ss58"] == world.signer.ss58_address
    (pair,) = report["suspicious_pairs"]
    assert (pair["miner_hotkey_1"], pair["miner_hotkey_2"]) == (COPIED, COPYING)
    assert pair["response_text_1"].split()[0] == pair["response_text_2"].split()[0]
    assert 0 < len(pair["response_text_2"]) <= 500

    assert said["reports_to_tell"] == 1
    (row,) = (r for r in world.store.outbox.lease(datetime.now(UTC), 99) if r.kind is DeliveryKind.SYBIL_REPORT)
    assert json.loads(row.payload) == {"records": [report]}
    assert row.challenge_id is None
    again = metadata_of(world.set_weights("accusations"), "accusations")
    assert again["reports_to_tell"] == 0, "the same words are told once"


def test_a_round_whose_pairs_are_stored_twice_accuses_nobody_twice(world: World) -> None:
    evaluate(world, 8, copying=True)
    key = world.scores_key(ChallengeId("c-7"))
    pairs = world.store.tables.read("pair_evidence", key)
    world.store.tables.write("pair_evidence", key, pl.concat([pairs, pairs]))
    said = metadata_of(world.set_weights("accusations"), "accusations")
    assert (said["rounds"], said["left_out"], said["accused"]) == (7, 1, 1)
    table = world.store.tables.latest("accusations")
    assert table is not None
    assert table["rounds"].to_list() == [7]


def test_independent_answers_accuse_nobody(world: World) -> None:
    evaluate(world, 8, copying=False)
    said = metadata_of(world.set_weights("emissions", "accusations"), "accusations")
    assert (said["rounds"], said["accused"], said["groups"], said["pairs"]) == (8, 0, 0, 10)


def test_without_rounds_there_is_nothing_to_accuse_of(world: World) -> None:
    said = metadata_of(world.set_weights("accusations"), "accusations")
    assert (said["rounds"], said["accused"], said["reports_to_tell"]) == (0, 0, 0)
    assert world.store.outbox.counts()[OutboxState.PENDING] == 0

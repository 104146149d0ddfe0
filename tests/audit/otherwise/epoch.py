"""A validator that set weights from rounds of twelve miners, with the texts and vectors they were scored from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

import loosh_pipeline.devnet.stored_rounds as stored_rounds
from loosh_pipeline.audit.recorded import RecordedEpoch, recorded_epoch
from loosh_pipeline.devnet.stored_rounds import hotkey_of, insert_rows, made, samples
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.rounds import of_day
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from tests.world import World

MINERS, ASKED, ROUNDS = 12, 5, 40
ROBUST = profile_of("robust")


HOTKEYS = tuple(hotkey_of(uid) for uid in range(MINERS))
SILENT = dict.fromkeys(HOTKEYS, "")


def small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("os.fsync", lambda _: None)
    patch.setattr(stored_rounds, "MINERS", MINERS)


def validator(instance: dg.DagsterInstance, patch: pytest.MonkeyPatch, rounds: int = ROUNDS) -> World:
    """With rounds of the last hours stored and scored, and nothing set yet."""
    small(patch)
    world = World(instance, SILENT)
    drawn = samples(HashingEmbedder(), 6, asked=ASKED)
    start = datetime.now(UTC) - timedelta(hours=3)
    kept = list(made(drawn, range(rounds), start, timedelta(minutes=2)))
    insert_rows(world.store.inbox.engine, kept)
    for each in kept:
        world.store.tables.write("miner_responses", each.key, each.responses())
        world.store.tables.write("embeddings", each.key, each.vectors())
    score(world, ROBUST)
    return world


def score(world: World, profile: ScoringProfile, *used: str) -> None:
    """Score all that is stored, as `loosh rescore` does."""
    rescoring = Rescoring(world.settings.tables_root, profile, ROBUST, 0, ("robust", *used))
    tables = world.store.tables
    days = tables.days("embeddings")
    found = [each for day in days for each in rescoring.run(of_day(tables, world.store.inbox, day))]
    assert found
    assert all(isinstance(each, Rescored) for each in found), found


def newest(world: World) -> RecordedEpoch:
    return recorded_epoch(world.store.inbox.engine, world.store.tables, "latest")

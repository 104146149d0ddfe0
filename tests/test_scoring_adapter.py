"""What a yardstick measures through the adapter is what the validator pays."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg
import numpy as np
import pytest

from benchmarks.scoring_adapter import score_rounds
from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.embedding.round_vectors import unpack
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.vectors import Vectors
from loosh_pipeline.store.vector_frames import from_frame
from tests.world import World, metadata_of

MINERS = [f"hotkey-{number}" for number in range(1, 6)]
COPIED, COPYING = MINERS[3], MINERS[4]
QUESTIONS = [
    "Why does the ocean look blue from far above?",
    "How do bridges carry heavy trains over wide rivers?",
    "What makes bread dough rise before baking?",
    "Which winds shape the dunes of dry deserts?",
    "How are old paintings cleaned without losing colour?",
    "Why do some birds fly south when winter comes?",
]
NOISE = 0.12
"""Part of its words that the copying miner replaces by others."""


@dataclass(frozen=True)
class Embedded:
    """A round as a yardstick gives it."""

    ids: list[str]
    texts: list[str]
    seconds: list[float]
    chunks: list[Vectors]
    sentences: list[Vectors]
    prompt_vector: Vectors


@pytest.fixture
def world() -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(instance, dict.fromkeys(MINERS, "to be said"))


def answers(number: int) -> dict[str, str]:
    """What each miner says to a question, in 30 to 120 words; the last one copies another with noise."""
    rng = random.Random(number)
    asked = QUESTIONS[number].rstrip("?").split()
    topic = asked * 3 + [f"topic{number}x{i}" for i in range(25)]
    said = {hotkey: _spoken(rng, topic, hotkey, rng.randint(30, 120)) for hotkey in MINERS[:-1]}
    copied = said[COPIED].split()
    said[COPYING] = " ".join(f"noise{rng.randrange(999)}" if rng.random() < NOISE else word for word in copied)
    return said


def _spoken(rng: random.Random, topic: Sequence[str], hotkey: str, count: int) -> str:
    own = [f"{hotkey[-1]}own{i}" for i in range(40)]
    words = [rng.choice(topic if rng.random() < 0.7 else own) for _ in range(count)]
    return " ".join(f"{word}." if i % 11 == 10 else word for i, word in enumerate(words, start=1)) + "."


def evaluated(world: World) -> list[ChallengeId]:
    ids = []
    for number, question in enumerate(QUESTIONS):
        world.miners.answers = answers(number) | ({MINERS[2]: Outcome.EMPTY} if number == 4 else {})
        ids.append(world.accept(f"c-{number}", question))
        assert world.evaluate(ids[-1], "miner_responses", "embeddings", "consensus_scores").success
    return ids


def as_yardstick(world: World, challenge_id: ChallengeId) -> Embedded:
    """The round of a challenge from what is stored of it."""
    partition = world.partition(challenge_id)
    responses = world.store.responses(partition)
    vectors = from_frame(world.store.tables.read("embeddings", partition.key))
    round_ = unpack(vectors, partition.challenge.prompt, responses)
    return Embedded(
        ids=[each.hotkey for each in responses],
        texts=[each.text for each in responses],
        seconds=[(each.elapsed_ms or 0.0) / 1000 for each in responses],
        chunks=[each.chunks for each in round_.responses],
        sentences=[each.sentences for each in round_.responses],
        prompt_vector=round_.prompt_vector,
    )


def settled_payouts(world: World, ids: Sequence[ChallengeId]) -> list[dict[str, float]]:
    """What `emissions` settled for everyone asked; who is in no row was paid 0."""
    settled = world.store.tables.latest("settled_scores")
    assert settled is not None
    found = {(row["challenge_id"], row["hotkey"]): row["payout"] for row in settled.iter_rows(named=True)}
    return [{hotkey: found.get((each, hotkey), 0.0) for hotkey in MINERS} for each in ids]


def test_the_adapter_pays_what_the_validator_pays(world: World) -> None:
    """Payouts of the stored settlement and of the adapter, from the same vectors.

    The adapter makes a context of the rounds it is given. The validator here has none yet. Below 20 rounds neither
    word weights nor background use one, so both agree.
    """
    ids = evaluated(world)
    result = world.set_weights("emissions")
    paid = settled_payouts(world, ids)
    found = score_rounds([as_yardstick(world, each) for each in ids])

    assert len(ids) < RobustProfile().context_rounds
    assert [set(each) for each in found] == [set(MINERS)] * len(ids)
    for measured, stored in zip(found, paid, strict=True):
        assert measured == pytest.approx(stored, abs=1e-12, rel=0)
    assert found[4][MINERS[2]] == paid[4][MINERS[2]] == 0.0, "it answered nothing"
    payouts = np.array([list(each.values()) for each in paid])
    assert (payouts > 0).mean() > 0.8, "there is something to agree on"
    assert len(np.unique(payouts.round(6))) > 20, "and it differs"
    assert f"{COPIED} = {COPYING} (" in metadata_of(result, "emissions")["one_source"]


def test_what_the_window_adds_is_in_both(world: World) -> None:
    """Copying with noise is told by history alone: the payouts of a round by itself are others."""
    ids = evaluated(world)
    world.set_weights("emissions")
    alone = [{score.hotkey: score.payout for score in world.scores(each).scores} for each in ids]
    paid = settled_payouts(world, ids)
    shared = [(once[COPYING], settled[COPYING]) for once, settled in zip(alone, paid, strict=True)]
    assert sum(once for once, _ in shared) > 1.2 * sum(settled for _, settled in shared) > 0

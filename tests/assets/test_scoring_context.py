"""A round is given the context of the moment its challenge came, however late it is scored again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.context_source import recent_context
from tests.world import ANSWERS, MODEL_DIGEST, World, metadata_of

SCORING = ("miner_responses", "embeddings", "consensus_scores")
HOUR = timedelta(hours=1)


def store_context(world: World, rounds: int, age: timedelta = HOUR, model: str = MODEL_DIGEST) -> ScoringContext:
    """A context of many rounds in which two words of the default answers are common, and one of them sounds usual."""
    usual = str(ANSWERS["hotkey-1"])
    made = ScoringContext.of(rounds, {"sky": rounds, "blue": rounds - 1}, HashingEmbedder().embed([usual])[0] * 0.3)
    world.store.score_tables.write_context(made, model, datetime.now(UTC) - age, "run-1")
    return made


def scores_bytes(world: World, challenge_id: ChallengeId) -> bytes:
    return Path(world.store.tables.path("consensus_scores", world.scores_key(challenge_id))).read_bytes()


def test_without_rounds_there_is_nothing_to_take(world: World) -> None:
    result = world.refresh_context()
    assert metadata_of(result, "scoring_context") == {"rounds": 0, "built": "not yet: no round has been embedded"}
    assert world.store.score_tables.newest_context() is None


def test_it_is_taken_from_the_newest_rounds_and_says_what_it_holds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTEXT_ROUNDS", "20")
    get_settings.cache_clear()
    for number in range(21):
        world.evaluate(world.accept(f"c-{number:02}"), "miner_responses", "embeddings")
    before = datetime.now(UTC)
    told = metadata_of(world.refresh_context(), "scoring_context")
    assert (told["rounds"], told["model_digest"]) == (20, MODEL_DIGEST)
    expected = recent_context(world.store.tables, before, 20)
    assert expected is not None
    assert told["digest"] == expected[0].digest
    newest = world.store.score_tables.newest_context()
    assert newest is not None
    assert newest["digest"][0] == expected[0].digest
    assert newest["built_at"][0] >= before.replace(microsecond=before.microsecond // 1000 * 1000)


def test_a_round_names_the_context_it_was_scored_under_and_is_paid_by_it(world: World) -> None:
    first = world.accept("c-1")
    world.evaluate(first, *SCORING)
    made = store_context(world, 500)
    second = world.accept("c-2")
    told = metadata_of(world.evaluate(second, *SCORING), "consensus_scores")
    assert (told["context_rounds"], told["context_digest"]) == (500, made.digest)
    assert world.scores(second).context_digest == made.digest
    payouts = [[score.payout for score in world.scores(each).scores] for each in (first, second)]
    assert payouts[0] != pytest.approx(payouts[1])
    baselines = [score.baseline for score in world.scores(second).scores if score.baseline is not None]
    assert all(baselines), "the background is taken off"


def test_scored_again_a_round_is_given_the_context_of_when_it_came(world: World) -> None:
    early = store_context(world, 500)
    challenge_id = world.accept()
    world.evaluate(challenge_id, *SCORING)
    before = scores_bytes(world, challenge_id)
    store_context(world, 900, age=-timedelta(seconds=1))
    assert metadata_of(world.refresh_context(), "scoring_context")["rounds"] == 1
    world.evaluate(challenge_id, "consensus_scores")
    assert scores_bytes(world, challenge_id) == before
    assert world.scores(challenge_id).context_digest == early.digest


def test_a_context_of_another_embedding_model_is_never_given(world: World) -> None:
    store_context(world, 500, model=HashingEmbedder(16).digest)
    told = metadata_of(world.evaluate(world.accept(), *SCORING), "consensus_scores")
    assert (told["context_rounds"], told["context_digest"]) == (0, ScoringContext.empty(384).digest)


def test_a_context_is_dated_when_it_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenge that comes while one is being taken is scored without it, now and later."""
    world.evaluate(world.accept("c-0"), *SCORING)
    came: list[ChallengeId] = []

    def slowly(*given: object) -> object:
        came.append(world.accept("c-1"))
        return recent_context(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("assets.scoring_context.recent_context", slowly)
    world.refresh_context()
    world.evaluate(came[0], *SCORING)
    assert world.scores(came[0]).context_digest == ScoringContext.empty(384).digest

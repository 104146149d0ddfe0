"""What decided weights, gathered from the tables of a validator that set them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.gathering import Remembered, content_of
from loosh_pipeline.audit.leaves import round_digest
from loosh_pipeline.audit.sealing import part_roots
from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.errors import StoreError
from loosh_pipeline.rescoring.rounds import Found, StoredRound, of_challenges
from loosh_pipeline.rescoring.scoring import inputs_of, score_stored
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.store.accepted_range import to_remember
from loosh_pipeline.store.history import compact_history
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS
from tests.world import World, newest_submission

PROMPTS = [f"Why is the sky blue on day {n} of the journey?" for n in range(4)]


@pytest.fixture
def weighed(world: World) -> World:
    """Four challenges were evaluated, one waits; then weights were set."""
    world.refresh_metagraph()
    world.refresh_availability()
    for n, prompt in enumerate(PROMPTS):
        world.evaluate(world.accept(f"c-{n}", prompt))
    world.accept("c-waiting", PROMPTS[0])
    world.set_weights()
    return world


def gathered(world: World, remembered: Remembered | None = None) -> Content:
    return content_of(world.store.tables, world.store.inbox.engine, newest_submission(world), remembered)


def stored_round(world: World, challenge_id: str) -> StoredRound:
    ((found,),) = of_challenges(world.store.tables, world.store.inbox, [challenge_id])
    assert isinstance(found, Found)
    return found.round


def score_anew(world: World, challenge_id: str, profile: RobustProfile) -> None:
    stored, tables = stored_round(world, challenge_id), world.store.score_tables
    found = score_stored(stored, tables.context_at, profile)
    tables.write(stored.key, found.scores, profile, found.model_digest, stored.received_at, found.inputs_digest)


def test_everything_that_counted_is_there(weighed: World) -> None:
    content = gathered(weighed)
    assert content.window.columns.challenges == tuple(f"c-{n}" for n in range(4))
    assert len(content.window.outcome) == 16
    assert content.window.outcome.count(Outcome.TIMEOUT) == 4
    assert content.window.answered.sum() == content.window.measured.sum() == 12
    assert len(content.window.columns.pairs) == 4 * 3
    assert set(content.looks.hotkeys) == {f"hotkey-{n}" for n in range(1, 5)}
    assert content.plan == newest_submission(weighed).plan
    assert content.subnet.block == content.epoch.block == content.plan.block
    assert content.inputs.earned.rounds == content.terms.rounds == 4
    assert [each.became for each in content.acceptances] == ["scored"] * 4 + ["waiting"]
    assert set(content.scorers) == set(content.window.version)


def test_the_digest_of_what_was_scored_stands_in_the_rows_and_is_that_of_the_stored_round(weighed: World) -> None:
    content, world = gathered(weighed), weighed
    partition = world.partition(ChallengeId("c-2"))
    rows = world.store.tables.read(SCORES, world.scores_key(ChallengeId("c-2")))
    stored = stored_round(world, "c-2")
    digest = round_digest(inputs_of(stored, rows["context_digest"][0]))
    assert rows["inputs_digest"].unique().to_list() == [digest] == [content.window.inputs_digest[2]]
    assert stored.request == partition.row.request


def test_it_is_gathered_the_same_after_compaction_rescoring_and_whatever_came_since(
    weighed: World,
) -> None:
    world, before = weighed, gathered(weighed)
    roots = part_roots(before)
    remembered = Remembered(before.epoch, len(before.acceptances), to_remember(before.acceptances))
    world.evaluate(ChallengeId("c-waiting"))
    world.evaluate(world.accept("c-later", PROMPTS[1]))
    for n in range(4):  # of another version
        score_anew(world, f"c-{n}", RobustProfile(relevance_gate=0.3))
    for days in (4.0, 4.1):  # packed, and later what was packed is removed
        later = datetime.now(UTC) + timedelta(days=days)
        done = compact_history(world.store.tables, 1.0, lambda at=later: at, lambda: False)
        assert done.done.problems == []
    assert world.store.tables.open_days(SCORES) == []
    assert part_roots(gathered(world, remembered)) == roots


def test_rounds_that_are_gone_are_named(weighed: World) -> None:
    world = weighed
    world.store.tables.remove(SCORES, world.scores_key(ChallengeId("c-1")))
    with pytest.raises(StoreError, match=r"of 4 rounds that counted, 1 have no scores .* challenge c-1 in version"):
        gathered(world)


def test_weights_of_a_release_without_records_cannot_be_gathered(weighed: World) -> None:
    world = weighed
    key = next(world.store.tables.newest_first(COUNTED_ROUNDS))
    world.store.tables.remove("emission_terms", key)
    with pytest.raises(StoreError, match="emission_terms"):
        gathered(world)

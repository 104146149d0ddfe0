"""Canaries through the assets: scored, never paid, told to nobody, and judged."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.domain import ChallengeId, ChallengeState, Outcome
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.following import challenge_facts
from loosh_pipeline.paying import earned_over
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.rounds import of_challenges
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import Canaries, CanaryMark
from loosh_pipeline.store.frames import emissions_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_tables import CANARY_SCORES, SCORES, TRIED_SCORES
from loosh_pipeline.store.tables import Tables
from resources.duckdb import tables_duckdb
from tests.world import ANSWERS, PROMPT, World, metadata_of

CANARY = ChallengeId("canary-1")
TODAYS = profile_of("robust")


def put_in(world: World, accepted: list[Any], challenge_id: ChallengeId = CANARY) -> ChallengeId:
    """What the ingress does with one of its own."""
    now = datetime.now(UTC)
    request = ChallengeRequest(id=challenge_id, prompt=PROMPT).stored(now)
    mark = CanaryMark(accepted, "a" * 64)
    commit_arrivals(world.store.inbox.engine, [Arrival(challenge_id, request, now, canary=mark)])
    return challenge_id


def paid(world: World) -> dict[str, tuple[int, float]]:
    found = world.store.tables.latest("emissions")
    assert found is not None
    return {each.hotkey: (each.asked, each.emission) for each in emissions_of(found)}


def test_a_canary_is_scored_and_never_paid_nor_told(world: World) -> None:
    for name in ("c-1", "c-2", "c-3"):
        world.evaluate(world.accept(name))
    world.set_weights("emissions")
    before, told = paid(world), len(world.api.calls)
    run = world.evaluate(put_in(world, ["sky"]))

    assert world.state(CANARY) is ChallengeState.SUBMITTED
    assert len(world.scores(CANARY).scores) == len(ANSWERS)
    assert len(world.api.calls) == told
    assert "canary" in metadata_of(run, "submissions")["kept"]
    world.set_weights("emissions")
    after = paid(world)
    assert {hotkey: asked for hotkey, (asked, _) in after.items()} == {h: asked for h, (asked, _) in before.items()}
    counted, settled = (world.store.tables.latest(name) for name in ("counted_rounds", "settled_scores"))
    for table in (counted, settled):
        assert table is not None
        assert set(table["challenge_id"]) == {"c-1", "c-2", "c-3"}


def test_a_canary_alone_pays_nobody(world: World) -> None:
    world.evaluate(put_in(world, ["sky"]))
    world.set_weights("emissions")
    assert paid(world) == {}


def lose_the_inbox(world: World) -> None:
    """As if it came from a backup that is older than the tables beside it."""
    with world.store.inbox.engine.begin() as connection:
        for table in ("canaries", "outbox", "challenges"):
            connection.execute(text(f"DELETE FROM {table}"))


def test_beside_an_inbox_that_lost_its_marks_nobody_is_paid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    world.evaluate(put_in(world, ["sky"]))
    lose_the_inbox(world)
    run = world.set_weights("emissions", "shadow_emissions", "accusations")
    assert paid(world) == {}
    shadows = world.store.tables.latest("shadow_emissions")
    assert shadows is not None
    assert shadows.is_empty()
    assert metadata_of(run, "accusations")["rounds"] == 0
    assert metadata_of(world.refresh_context(), "scoring_context")["rounds"] == 0


def test_after_a_restore_with_tables_that_were_salvaged_nobody_is_paid(world: World, tmp_path: Path) -> None:
    """The backup was taken before the canary was put in; its tables were saved from the disk."""
    world.evaluate(world.accept("c-1"))
    places = Places.of(world.settings)
    now = datetime.now(UTC)
    taken = take_backup(places, tmp_path / "b.tar.gz", now)
    world.evaluate(put_in(world, ["sky"]))
    restored = restore_backup(taken.path, Places.usual(tmp_path / "new"), now, force=False, say=lambda _: None)
    shutil.copytree(world.settings.tables_root, restored.home / "tables", dirs_exist_ok=True)
    inbox, tables = Inbox.open(f"sqlite:///{restored.home}/validator.db"), Tables(str(restored.home / "tables"))
    assert CANARY not in Canaries(inbox.engine)
    with tables_duckdb().get_connection() as connection:
        found = earned_over(tables, connection, TODAYS, EmissionRule(), datetime.now(UTC), 12.0)
    inbox.engine.dispose()
    assert found.terms.rounds == 1
    assert {each.asked for each in found.emissions} == {1}


@pytest.mark.parametrize("profile", [TODAYS, profile_of("robust", {"power": 5.0})], ids=["todays", "tried"])
def test_scored_again_it_still_lies_apart(world: World, profile: ScoringProfile) -> None:
    tables, challenge = world.store.tables, put_in(world, ["sky"])
    world.evaluate(challenge)
    rescoring = Rescoring(tables.objects.root, profile, TODAYS, 0, ("robust",), replace=True)
    found = list(rescoring.run(of_challenges(tables, world.store.inbox, [challenge])))
    assert [each.against for each in found if isinstance(each, Rescored)] == [None]
    assert tables.exists(CANARY_SCORES, world.scores_key(challenge, profile))
    assert not any(list(tables.newest_first(each)) for each in (SCORES, TRIED_SCORES))


def test_a_picture_and_a_text_are_made_of_it_and_no_model_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> None:
        raise AssertionError("a model was told of a canary")

    monkeypatch.setenv("HEATMAP_UPLOAD", "true")
    get_settings.cache_clear()
    monkeypatch.setattr(world.narrator, "narrate", asked)
    run = world.evaluate(put_in(world, ["sky"]))
    assert metadata_of(run, "narratives")["source"] == "composed"
    assert metadata_of(run, "heatmaps")["upload"] == "never: it is a canary"
    assert challenge_facts(get_settings(), world.store.inbox, CANARY)["payouts"]


def test_no_shadow_pays_it_and_no_accusation_is_made_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_PROFILES", "robust,network")
    get_settings.cache_clear()
    world.evaluate(world.accept("c-1"))
    world.evaluate(put_in(world, ["sky"]))
    world.set_weights("emissions", "shadow_emissions", "accusations")
    shadows = world.store.tables.latest("shadow_emissions")
    assert shadows is not None
    assert set(shadows["asked"]) <= {1}
    run = world.set_weights("accusations")
    assert metadata_of(run, "accusations")["rounds"] == 1


def test_what_the_validator_asks_itself_is_no_part_of_the_context(world: World) -> None:
    world.evaluate(put_in(world, ["sky"]))
    assert metadata_of(world.refresh_context(), "scoring_context")["rounds"] == 0
    world.evaluate(world.accept("c-1"))
    assert metadata_of(world.refresh_context(), "scoring_context")["rounds"] == 1


def test_accuracy_is_of_the_canaries_alone(world: World) -> None:
    """Each answer is held against what one of them says: only that miner is right."""
    hotkey, text = next((hotkey, text) for hotkey, text in ANSWERS.items() if isinstance(text, str))
    world.evaluate(world.accept("c-1"))
    world.evaluate(put_in(world, [{"exact": text}]))
    world.evaluate(put_in(world, [{"exact": "something else"}], ChallengeId("canary-2")))
    run = world.set_weights("canary_accuracy")
    assert metadata_of(run, "canary_accuracy")["canaries"] == 2
    table = world.store.tables.latest("canary_accuracy")
    assert table is not None
    rows = {row["hotkey"]: row for row in table.to_dicts()}
    assert rows.keys() == ANSWERS.keys()
    assert {row["asked"] for row in rows.values()} == {2}
    failed = {h for h, answer in ANSWERS.items() if isinstance(answer, Outcome)}
    assert {h for h, row in rows.items() if row["answered"] == 0} == failed
    same = {h for h, answer in ANSWERS.items() if answer == text}
    assert {h for h, row in rows.items() if row["right"] == 1} == same
    assert (rows[hotkey]["right"], rows[hotkey]["accuracy"]) == (1, 0.5)
    assert 0.09 < rows[hotkey]["low"] < 0.5 < rows[hotkey]["high"] < 0.91


def test_without_canaries_the_table_is_empty(world: World) -> None:
    world.evaluate(world.accept("c-1"))
    run = world.set_weights("canary_accuracy")
    assert metadata_of(run, "canary_accuracy")["miners"] == 0


def test_one_whose_answers_were_forgotten_says_nothing(world: World) -> None:
    put_in(world, ["sky"])
    world.store.inbox.collected(CANARY, (), datetime.now(UTC) - timedelta(seconds=1))
    run = world.set_weights("canary_accuracy")
    assert metadata_of(run, "canary_accuracy")["miners"] == 0


def test_each_is_judged_once_and_so_many_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from loosh_pipeline.store import canary_accuracy

    monkeypatch.setattr(canary_accuracy, "MOST_JUDGED", 2)
    names = [ChallengeId(f"canary-{number}") for number in range(3)]
    for name in names:
        world.evaluate(put_in(world, ["sky"], name), "miner_responses")
    kept = world.store.canaries.newest(datetime.now(UTC) - timedelta(days=1), 10)
    assert {each.asked for each in canary_accuracy.measured(world.store.tables, kept)} == {2}
    now = canary_accuracy.measured(world.store.tables, kept)
    assert {each.asked for each in now} == {3}

    def judged(*_: Any) -> None:
        raise AssertionError("an answer was judged again")

    monkeypatch.setattr(canary_accuracy, "judged", judged)
    assert canary_accuracy.measured(world.store.tables, kept) == now

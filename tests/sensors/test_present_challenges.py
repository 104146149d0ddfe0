"""Pictures and narratives of many challenges in one run, tried once each, when nothing more urgent waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from assets.heatmaps import heatmaps
from loosh_pipeline.definitions import defs
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import LooshError
from loosh_pipeline.settings import Present, get_settings
from sensors import present_challenges as module
from sensors.jobs import SCORE_JOB, evaluation
from sensors.present_challenges import MOST_LATE, present_challenges, presentation_sensor
from tests.claims import claim
from tests.sensors.ticks import skipped
from tests.world import World

UNPRESENTED = ("miner_responses", "embeddings", "consensus_scores", "shadow_scores", "submissions")


@pytest.fixture
def later(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PRESENT", "later")
    get_settings.cache_clear()
    return world


def scored(world: World, *names: str, since: datetime | None = None) -> list[ChallengeId]:
    """Challenges that wait for their picture; nothing but their state is stored."""
    at = since or datetime.now(UTC)
    ids = [world.accept(name, now=at + timedelta(milliseconds=number)) for number, name in enumerate(names)]
    for each in ids:
        world.store.outbox.keep_result(each, b"{}", at, to_present=True)
    return ids


def tick(world: World) -> dg.RunRequest | dg.SkipReason:
    with dg.build_sensor_context(instance=world.instance, resources={"store": world.store}) as context:
        result = presentation_sensor(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def run(world: World, **how: Any) -> dg.ExecuteInProcessResult:
    resources = {"store": world.store, "llm": world.narrator}
    return present_challenges.execute_in_process(instance=world.instance, resources=resources, **how)


def made(world: World, name: str) -> dict[str, dict[str, Any]]:
    """What every partition of an asset shows, as Dagster has it."""
    records = world.instance.fetch_materializations(dg.AssetKey(name), limit=99).records
    found = {}
    for record in records:
        materialization = record.asset_materialization
        assert materialization is not None
        assert materialization.partition is not None
        found[materialization.partition] = {label: value.value for label, value in materialization.metadata.items()}
    return found


@pytest.mark.parametrize("present", list(Present))
def test_the_run_of_a_challenge_makes_what_the_setting_says(present: Present) -> None:
    graph = defs.resolve_asset_graph()
    names = {key.to_user_string() for key in evaluation(present).resolve(graph)}
    assert names == {*UNPRESENTED, *(("heatmaps", "narratives") if present is Present.WITH_SCORES else ())}
    assert defs.resolve_job_def(SCORE_JOB).tags.get("dagster/priority") is None


def test_one_run_presents_as_the_assets_do(later: World) -> None:
    ids = [later.accept(f"c-{number}") for number in range(2)]
    for each in ids:
        assert later.evaluate(each, *UNPRESENTED).success
    assert (later.store.presenting.newest(9), made(later, "heatmaps")) == (ids[::-1], {})
    assert isinstance(tick(later), dg.RunRequest)

    assert run(later).success
    pictures, texts = made(later, "heatmaps"), made(later, "narratives")
    assert set(pictures) == set(texts) == set(ids)
    assert later.store.presenting.newest(9) == []
    assert "every scored challenge has been presented" in skipped(tick(later))

    later.evaluate(ids[0], "heatmaps", "narratives")
    assert made(later, "heatmaps")[ids[0]] == pictures[ids[0]]
    assert made(later, "narratives")[ids[0]] == texts[ids[0]]


@pytest.mark.parametrize("present", [Present.WITH_SCORES, Present.ON_DEMAND])
def test_otherwise_nothing_waits_to_be_presented(
    world: World, monkeypatch: pytest.MonkeyPatch, present: Present
) -> None:
    monkeypatch.setenv("PRESENT", present.value)
    get_settings.cache_clear()
    world.evaluate(world.accept(), *UNPRESENTED)
    assert world.store.presenting.oldest() is None


def test_what_fails_is_named_costs_no_other_and_is_not_tried_for_ever(
    later: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = scored(later, "c-1", "c-2", "c-3")

    def draw(_store: object, partition: Any) -> dict[str, dg.MetadataValue]:
        if partition.row.id == "c-2":
            raise LooshError("no fonts")
        return {"size_bytes": dg.MetadataValue.int(1)}

    monkeypatch.setattr(module, "draw", draw)
    monkeypatch.setattr(module, "tell", lambda *_: {})
    result = run(later, raise_on_error=False)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "heatmaps of c-2" in (failed.step_failure_data.user_failure_data or failed.step_failure_data).description  # type: ignore[union-attr]
    assert set(made(later, heatmaps.key.to_user_string())) == {"c-1", "c-3"}
    assert set(made(later, "narratives")) == set(ids)
    assert later.store.presenting.oldest() is None
    assert later.state(ids[1]) is ChallengeState.SCORED


def test_a_slow_model_does_not_make_the_run_too_long(later: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = scored(later, "c-1", "c-2")
    monkeypatch.setattr(module, "BUDGET_S", 0.0)
    assert run(later).success
    assert later.store.presenting.newest(9) == ids[::-1]


def test_the_newest_come_first_and_a_run_is_bounded(later: World, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(later, "c-1", "c-2", "c-3")
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "draw", lambda *_: {})
    monkeypatch.setattr(module, "tell", lambda *_: {})
    assert run(later).success
    assert later.store.presenting.newest(9) == ["c-1"]


def test_pictures_wait_while_challenges_are_evaluated_but_not_for_ever(later: World) -> None:
    claim(later.store.inbox, later.accept("busy"), datetime.now(UTC))
    scored(later, "c-1")
    assert "wait" in skipped(tick(later))
    scored(later, "c-2", since=datetime.now(UTC) - MOST_LATE)
    assert isinstance(tick(later), dg.RunRequest)


def test_one_run_at_a_time(later: World) -> None:
    scored(later, "c-1")
    later.add_run(present_challenges.name, dg.DagsterRunStatus.QUEUED)
    assert "is under way" in skipped(tick(later))


def test_without_the_setting_there_is_neither_job_nor_sensor() -> None:
    assert present_challenges not in (defs.jobs or ())
    assert (module.JOBS, module.SENSORS) == ([], [])

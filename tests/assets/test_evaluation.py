"""The assets of one challenge, in one run, over gateways in memory and real tables."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from loosh_pipeline.definitions import defs
from loosh_pipeline.domain import ChallengeId, ChallengeState, Outcome
from loosh_pipeline.embedding.fake import HashingEmbedder
from loosh_pipeline.embedding.port import Rows
from loosh_pipeline.errors import ChainError, EmbedderError, LLMUnreachable, LooshError
from loosh_pipeline.llm.fake import ScriptedModel
from loosh_pipeline.llm.port import Generation, Message
from loosh_pipeline.narrative import RoundNarrator
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import OutboxState
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus
from loosh_pipeline.wire.fakes import FakeChallengeApi
from resources.challenge_api import challenge_api_resource
from sensors.outbox_sensor import outbox_sensor
from tests.world import ANSWERS, MODEL_DIGEST, World, failure_of, metadata_of

SCORING = ("miner_responses", "embeddings", "consensus_scores")
DEAF = {hotkey: Outcome.UNREACHABLE for hotkey in ANSWERS}


def path_of(world: World, asset: str, challenge_id: ChallengeId) -> Path:
    return Path(world.store.tables.path(asset, world.scores_key(challenge_id)))


def steps_started(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_key or "" for event in result.all_events if event.is_step_start]


def test_a_challenge_is_asked_scored_told_and_drawn_in_one_run(world: World) -> None:
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)

    assert result.success
    row = world.store.inbox.get(challenge_id)
    assert (row.state, row.asked, row.answered, row.attempts) == (ChallengeState.SUBMITTED, 4, 3, 1)
    assert world.store.outbox.counts()[OutboxState.DELIVERED] == 1

    responses = world.store.responses(world.partition(challenge_id))
    assert {r.hotkey: r.text if r.outcome is Outcome.ANSWERED else r.outcome for r in responses} == ANSWERS
    scores = world.scores(challenge_id)
    assert [score.hotkey for score in scores.scores] == list(ANSWERS)
    assert [score.payout > 0 for score in scores.scores] == [True, True, True, False]

    (batch,) = world.api.calls
    assert [entry["miner_id"] for entry in batch["responses"]] == ["hotkey-1", "hotkey-2", "hotkey-3"]
    assert batch["evaluation"]["emissions"] == {score.hotkey: score.payout for score in scores.scores}
    assert batch["validator_hotkey"] == world.signer.ss58_address

    assert (world.settings.heatmaps_root / "c-1.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((world.settings.heatmaps_root / "c-1.json").read_text())["$schema"]
    narrative = world.store.tables.read("narratives", world.partition(challenge_id).key).row(0, named=True)
    assert narrative["source"] == "composed"
    assert "4 miners asked, 3 answered, 3 paid" in narrative["text"]


def test_the_metadata_of_a_run_says_what_its_tables_hold(world: World) -> None:
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)

    asked = metadata_of(result, "miner_responses")
    assert (asked["asked"], asked["answered"], asked["timeout"], asked["dagster/partition_row_count"]) == (4, 3, 1, 4)
    scored = metadata_of(result, "consensus_scores")
    assert (scored["scored"], scored["unscored"], scored["paid"]) == (3, 1, 3)
    assert scored["scorer_version"] == scorer_version(RobustProfile(), MODEL_DIGEST)
    assert (scored["profile"], scored["context_rounds"]) == ("robust", 0)
    content = Path(scored["path"]).read_bytes()
    assert (scored["sha256"], scored["dagster/size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    told = metadata_of(result, "submissions")
    assert (told["responses"], told["delivery_delivered"]) == (3, 1)
    assert metadata_of(result, "heatmaps")["heatmap"].endswith("/heatmaps/c-1.png)")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.ANSWERED])
def test_whoever_was_asked_has_a_row_whatever_the_outcome(instance: dg.DagsterInstance, outcome: Outcome) -> None:
    world = World(instance, dict(ANSWERS) | {"hotkey-4": outcome})
    challenge_id = world.accept()
    world.evaluate(challenge_id, *SCORING)

    rows = world.store.tables.read("consensus_scores", world.scores_key(challenge_id))
    assert rows.height == len(ANSWERS)
    failed = rows.row(3, named=True)
    assert (failed["hotkey"], failed["outcome"], failed["scored"], failed["payout"]) == ("hotkey-4", outcome, False, 0)
    assert failed["reason"]


def test_miners_that_do_not_serve_are_not_asked(world: World) -> None:
    first, *others = world.chain.metagraph.neurons
    silent = replace(others[0], ip=None, port=0)
    world.chain.metagraph = replace(world.chain.metagraph, neurons=(first, silent, *others[1:]))
    world.evaluate(world.accept(), *SCORING)
    assert world.miners.asked == [("c-1", ("hotkey-2", "hotkey-3", "hotkey-4"))]


def test_materializing_again_asks_nobody_twice_and_writes_the_same_bytes(world: World) -> None:
    challenge_id = world.accept()
    world.evaluate(challenge_id)
    path, pairs_path = (path_of(world, asset, challenge_id) for asset in ("consensus_scores", "pair_evidence"))
    responses_path = Path(world.store.tables.path("miner_responses", world.partition(challenge_id).key))
    before = (path.read_bytes(), pairs_path.read_bytes(), responses_path.read_bytes())
    path.unlink()
    pairs_path.unlink()
    world.miners.answers = DEAF

    assert world.evaluate(challenge_id).success
    assert (path.read_bytes(), pairs_path.read_bytes(), responses_path.read_bytes()) == before
    assert len(world.miners.asked) == 1
    assert len(world.api.calls) == 1, "the outbox had delivered it"
    row = world.store.inbox.get(challenge_id)
    assert (row.state, row.asked, row.answered) == (ChallengeState.SUBMITTED, 4, 3)


RESCORE = """
import sys
import dagster as dg
from assets.challenges import challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.settings import get_settings
from resources.store import Store

with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions(challenge_partitions.name, [sys.argv[1]])
    resources = {"store": Store(get_settings())}
    dg.materialize([consensus_scores], partition_key=sys.argv[1], instance=instance, resources=resources)
"""


@pytest.mark.slow
def test_scoring_again_in_another_process_writes_the_same_bytes(world: World) -> None:
    challenge_id = world.accept()
    world.evaluate(challenge_id, *SCORING)
    paths = [path_of(world, asset, challenge_id) for asset in ("consensus_scores", "pair_evidence")]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()

    subprocess.run([sys.executable, "-c", RESCORE, challenge_id], check=True, capture_output=True, timeout=120)
    assert [path.read_bytes() for path in paths] == before


class BrokenEmbedder(HashingEmbedder):
    def embed(self, texts: Sequence[str]) -> Rows:
        raise EmbedderError("cannot reach the embedder at http://127.0.0.1:9/v1")


def test_after_a_failure_behind_the_answers_the_next_run_goes_on_from_them(world: World) -> None:
    world.embedder = BrokenEmbedder()
    challenge_id = world.accept()
    result = world.evaluate(challenge_id, *SCORING, raise_on_error=False)
    assert "cannot reach the embedder" in failure_of(result)
    assert world.state(challenge_id) is ChallengeState.COLLECTED

    world.embedder = HashingEmbedder()
    assert world.evaluate(challenge_id, *SCORING, "submissions").success
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert len(world.miners.asked) == 1


def test_answers_that_were_written_but_not_counted_are_counted_by_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> bool:
        raise LooshError("killed between the table and the inbox")

    challenge_id = world.accept()
    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "collected", killed)
        assert not world.evaluate(challenge_id, "miner_responses", raise_on_error=False).success
    assert world.state(challenge_id) is ChallengeState.DISPATCHED

    assert world.evaluate(challenge_id, "miner_responses").success
    row = world.store.inbox.get(challenge_id)
    assert (row.state, row.asked, row.answered) == (ChallengeState.COLLECTED, 4, 3)
    assert len(world.miners.asked) == 1


def test_when_every_miner_fails_nobody_is_paid_and_the_network_is_told(instance: dg.DagsterInstance) -> None:
    world = World(instance, DEAF)
    challenge_id = world.accept()
    assert world.evaluate(challenge_id).success

    scores = world.scores(challenge_id)
    assert [(score.payout, score.reason) for score in scores.scores] == [(0.0, "unreachable")] * 4
    (batch,) = world.api.calls
    assert batch["responses"] == []
    assert batch["evaluation"]["best_miner_id"] is None
    assert set(batch["evaluation"]["emissions"].values()) == {0.0}
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert (world.settings.heatmaps_root / "c-1.png").exists()


def test_too_few_miners_fail_the_run_and_leave_the_challenge_unfinished(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIN_MINERS", "5")
    get_settings.cache_clear()
    world = World(instance)
    challenge_id = world.accept()
    result = world.evaluate(challenge_id, raise_on_error=False)

    assert not result.success
    assert "4 miners serve on subnet 78 at block 100, MIN_MINERS is 5; the challenge is kept" in failure_of(result)
    assert steps_started(result) == ["miner_responses"]
    assert world.miners.asked == []
    assert world.state(challenge_id) is ChallengeState.DISPATCHED
    later = datetime.now(UTC) + timedelta(hours=1)
    assert [row.id for row in world.store.inbox.stalled(later, 10)] == [challenge_id]


def test_an_old_snapshot_is_replaced_before_anyone_is_asked(world: World) -> None:
    old = replace(world.chain.metagraph, taken_at=datetime.now(UTC) - timedelta(hours=2), neurons=())
    world.store.save_metagraph(replace(old, neurons=world.chain.metagraph.neurons[:1]))
    world.evaluate(world.accept(), *SCORING)
    assert world.chain.calls == ["snapshot"]
    assert len(world.miners.asked[0][1]) == 4


def test_a_recent_snapshot_is_used_as_it_is(world: World) -> None:
    world.store.save_metagraph(world.chain.metagraph)
    world.chain.fail("snapshot", ChainError("the chain is down"))
    assert world.evaluate(world.accept(), *SCORING).success
    assert world.chain.calls == []


def test_with_the_challenge_api_down_the_result_waits_and_the_sensor_delivers_it(world: World) -> None:
    world.api = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "503 from the API")])
    challenge_id = world.accept()
    result = world.evaluate(challenge_id, *SCORING, "submissions")

    assert result.success
    assert metadata_of(result, "submissions")["delivery_retry"] == 1
    assert world.state(challenge_id) is ChallengeState.SCORED
    assert world.store.outbox.counts()[OutboxState.PENDING] == 1

    first = world.api.calls[0]
    _wait_until_due(world)
    resources = {"store": world.store, "challenge_api": world.api}
    with dg.build_sensor_context(instance=world.instance, resources=resources) as context:
        assert outbox_sensor(context).skip_message == "delivered 1"
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert world.api.calls == [first, first]


def _wait_until_due(world: World) -> None:
    """Make the postponed delivery due now: a lease in the future takes it, and postpones it to the past."""
    (row,) = world.store.outbox.lease(datetime.now(UTC) + timedelta(hours=1), 10)
    world.store.outbox.postpone(replace(row, attempts=1), "made due", datetime.now(UTC) - timedelta(minutes=1))


def test_without_a_challenge_api_the_result_is_kept_and_says_what_to_set(world: World) -> None:
    with dg.build_resources({"challenge_api": challenge_api_resource}) as built:
        world.api = built.challenge_api
        assert world.evaluate(world.accept(), *SCORING, "submissions").success
    (row,) = world.store.outbox.lease(datetime.now(UTC) + timedelta(hours=1), 10)
    assert (
        world.api.tell(row.kind, row.payload).detail == "CHALLENGE_API_URL is not set; the result is kept until it is"
    )


def test_what_the_api_refuses_is_parked_with_its_reason(world: World) -> None:
    world.api = FakeChallengeApi([Delivery(DeliveryStatus.REFUSED, "422 not a challenge of mine")])
    challenge_id = world.accept()
    assert world.evaluate(challenge_id, *SCORING, "submissions").success
    assert world.store.outbox.counts()[OutboxState.PARKED] == 1
    assert world.state(challenge_id) is ChallengeState.SCORED


def test_the_network_is_told_before_pictures_and_texts_which_may_fail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_picture(_chart: object) -> bytes:
        raise LooshError("no fonts on this machine")

    monkeypatch.setattr("loosh_pipeline.heatmap.render_png", no_picture)
    challenge_id = world.accept()
    result = world.evaluate(challenge_id, raise_on_error=False)

    assert not result.success
    assert "no fonts on this machine" in failure_of(result)
    assert steps_started(result)[3] == "submissions"
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert world.store.tables.exists("narratives", world.partition(challenge_id).key)
    assert list(world.settings.heatmaps_root.glob("*")) == []


def test_a_language_model_is_asked_after_the_network_was_told_and_costs_its_text_only(world: World) -> None:
    told_before: list[int] = []

    class DeadModel(ScriptedModel):
        def generate(self, messages: Sequence[Message]) -> Generation:
            told_before.append(len(world.api.calls))
            return super().generate(messages)

    world.narrator = RoundNarrator(DeadModel([LLMUnreachable("http://127.0.0.1:9 did not answer within 30 s")]))
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)

    assert result.success
    assert told_before == [1]
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    narrative = world.store.tables.read("narratives", world.partition(challenge_id).key).row(0, named=True)
    reason = "it could not be reached, or did not answer in time"
    assert narrative["source"] == f"composed, as the model failed: {reason}"
    assert (
        narrative["text"]
        == f"{narrative['composed']}\n\nThis text is composed from the figures, as the model failed: {reason}."
    )
    assert metadata_of(result, "narratives")["source"] == narrative["source"]


def test_nothing_but_a_page_depends_on_a_narrative() -> None:
    graph = defs.get_repository_def().asset_graph
    assert graph.get(dg.AssetKey("narratives")).child_keys == set()


def test_a_models_text_is_kept_with_the_composed_one_and_with_what_it_took(world: World) -> None:
    world.narrator = RoundNarrator(ScriptedModel(["Of 4 miners asked, 3 answered."]))
    challenge_id = world.accept()
    result = world.evaluate(challenge_id)

    row = world.store.tables.read("narratives", world.partition(challenge_id).key).row(0, named=True)
    assert (row["text"], row["source"]) == ("Of 4 miners asked, 3 answered.", "llm:scripted")
    assert row["composed"].startswith("4 miners asked, 3 answered, 3 paid")
    assert (row["provider"], row["model"], row["finish_reason"]) == ("ollama", "scripted", "stop")
    tokens = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [row[name] for name in (*tokens, "elapsed_ms")] == [120, 30, 150, 12.5]
    shown = metadata_of(result, "narratives")
    assert [shown[name] for name in (*tokens, "model", "elapsed_ms")] == [120, 30, 150, "scripted", 12.5]
    assert shown["composed"] == row["composed"]


def test_narratives_of_before_are_read_beside_those_of_now(world: World) -> None:
    challenge_id = world.accept()
    world.evaluate(challenge_id)
    before = pl.DataFrame([{"challenge_id": "c-0", "source": "composed", "text": "A calm round."}])
    world.store.tables.write("narratives", replace(world.partition(challenge_id).key, name="c-0"), before)
    with duckdb.connect() as connection:
        world.store.tables.register_views(connection, ["narratives"])
        rows = connection.execute("SELECT challenge_id, composed IS NULL FROM narratives ORDER BY 1").fetchall()
    assert rows == [("c-0", True), ("c-1", False)]


def test_an_unknown_challenge_fails_with_what_to_do(world: World) -> None:
    result = world.evaluate(ChallengeId("never-sent"), "miner_responses", raise_on_error=False)
    assert "no challenge 'never-sent' was accepted; POST it to /challenges first" in failure_of(result)


def test_scoring_without_responses_names_the_asset_to_materialize(world: World) -> None:
    result = world.evaluate(world.accept(), "embeddings", raise_on_error=False)
    assert "materialize miner_responses for this partition first" in failure_of(result)


def test_an_id_that_is_no_file_name_works_all_the_way(world: World) -> None:
    challenge_id = world.accept("../tmp/é ö|*?")
    assert world.evaluate(challenge_id).success
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert {path.name[0] for path in world.settings.heatmaps_root.iterdir()} == {"~"}
    tables = list(Path(world.settings.tables_root).rglob("*.parquet"))
    assert {path.name[0] for path in tables if path.parts[-3] not in ("metagraph", "scorers")} == {"~"}

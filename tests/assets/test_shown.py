"""What the pages of assets show of one challenge: figures that plot, and the way to its page."""

from __future__ import annotations

from typing import Any

import dagster as dg

from loosh_pipeline import page_links
from loosh_pipeline.domain import ChallengeId, Outcome
from loosh_pipeline.settings import get_settings
from tests.world import World

OF_ROUND = (
    *("challenges", "miner_responses", "embeddings", "consensus_scores"),
    *("shadow_scores", "submissions", "heatmaps", "narratives"),
)
OF_TABLES = ("dagster/partition_row_count", "dagster/size_bytes", "sha256", "path")
WITH_TABLE = ("miner_responses", "embeddings", "consensus_scores", "narratives")


def shown(world: World, asset: str) -> dict[str, Any]:
    """Metadata of the newest materialization of an asset."""
    event = world.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_every_asset_of_a_round_leads_to_its_page_and_counts_its_rows(world: World) -> None:
    assert world.evaluate(world.accept("c é/1")).success
    page = page_links.of_challenge(get_settings().ingress_url, "c é/1")
    assert page.endswith("/rounds/c%20%C3%A9%2F1")
    assert {asset: shown(world, asset)["page"] for asset in OF_ROUND} == dict.fromkeys(OF_ROUND, page)
    assert all(shown(world, asset)["dagster/partition_row_count"] > 0 for asset in WITH_TABLE)


def test_nothing_is_said_twice(world: World) -> None:
    """Dagster keeps every figure twice, for as many challenges as it shows."""
    world.evaluate(world.accept())
    picture, vectors = shown(world, "heatmaps"), shown(world, "embeddings")
    assert picture.keys() == {"heatmap", "answers", "dagster/size_bytes", "upload", "page"}
    assert vectors.keys() == {"embed_s", "model_digest", "page", *OF_TABLES}, "a row is a vector"
    assert sum("/heatmaps/" in str(value) for value in picture.values()) == 1


def test_figures_of_a_round_are_numbers(world: World) -> None:
    world.evaluate(world.accept())
    answers, scores = shown(world, "miner_responses"), shown(world, "consensus_scores")
    assert (answers["answered_share"], answers["slowest_answer_s"]) == (0.75, 0.103)
    assert (scores["scored"], scores["unscored"]) == (3, 1)
    assert 0 < scores["payout_mean"] <= scores["payout_max"]
    assert isinstance(scores["consensus_score"], float)
    assert 0 < scores["accepted_to_scored_s"] < 60
    assert shown(world, "embeddings")["embed_s"] >= 0
    assert shown(world, "narratives")["source"] == "composed"


def test_what_was_not_measured_is_missing_so_that_plots_have_no_holes_of_text(world: World) -> None:
    world.miners.answers = dict.fromkeys(world.miners.answers, Outcome.TIMEOUT)
    world.evaluate(world.accept())
    answers, scores = shown(world, "miner_responses"), shown(world, "consensus_scores")
    assert answers["answered_share"] == 0
    assert "slowest_answer_s" not in answers
    assert {"payout_mean", "payout_max"}.isdisjoint(scores), "nobody was scored; the network's method calls that 0"


def test_scoring_again_is_not_late(world: World) -> None:
    challenge_id: ChallengeId = world.accept()
    world.evaluate(challenge_id)
    world.evaluate(challenge_id, "consensus_scores")
    assert "accepted_to_scored_s" not in shown(world, "consensus_scores")

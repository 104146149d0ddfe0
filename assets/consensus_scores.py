"""What every answer is worth, and why."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from assets.about import DECIDES_PAY, of_table, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.embeddings import embeddings
from assets.miner_responses import miner_responses
from assets.scoring_context import scoring_context
from loosh_pipeline.domain import STATE_ORDER, ChallengeState, Response
from loosh_pipeline.rescoring.rounds import StoredRound
from loosh_pipeline.rescoring.scoring import score_stored
from loosh_pipeline.scorers import paying_profile, paying_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.score_frames import scores_frame
from resources.store import Partition, Store, preview, written_of_one

PREVIEW = ["uid", "reason", "relevance", "agreement", "share", "payout", "quality", "in_consensus"]


@dg.asset(
    description=(
        "What a round says of its answers under the profile that pays: agreement with independent, relevant peers, or "
        "the network's own method. A pure function of the stored responses, vectors and context: scoring again gives "
        "the same rows. A row is one miner asked, in one file for each challenge and scorer version. Every signal, "
        "gate, vote, share and copy behind a payout is a column, and so is what the network's method finds, whichever "
        "pays; the pairs of answers that were compared lie in the table `pair_evidence`."
    ),
    deps=[miner_responses, embeddings, scoring_context],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
    tags=DECIDES_PAY,
    metadata=of_table("consensus_scores"),
    code_version=paying_version(get_settings()),
)
def consensus_scores(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    partition = store.partition(context.partition_key)
    result, metadata = evaluate_and_keep(store, partition, paying_profile(get_settings()))
    frame = scores_frame(result, partition.row.received_at)  # to be shown: the digest is told beside it
    shown = preview(_with_uids(frame, store.responses(partition)), PREVIEW)
    return dg.MaterializeResult(metadata={"scores": shown, **metadata})


def evaluate_and_keep(
    store: Store, partition: Partition, profile: ScoringProfile
) -> tuple[RoundScores, dict[str, dg.MetadataValue]]:
    """Score a stored round under a profile and keep its rows; returns them, and what the asset's page shows."""
    stored = StoredRound(
        id=partition.row.id,
        received_at=partition.row.received_at,
        request=partition.row.request,
        prompt=partition.challenge.prompt,
        vectors=store.tables.read("embeddings", partition.key),
        responses=store.tables.read("miner_responses", partition.key),
    )
    found = score_stored(stored, store.score_tables.context_at, profile)
    result, past = found.scores, found.context
    table = store.scores_beside(partition).write(
        partition.key, result, profile, found.model_digest, stored.received_at, found.inputs_digest
    )
    return result, {
        **_figures(result),
        **_latency(partition),
        "profile": dg.MetadataValue.text(result.profile),
        "scorer_version": dg.MetadataValue.text(result.scorer_version),
        "context_digest": dg.MetadataValue.text(result.context_digest),
        "inputs_digest": dg.MetadataValue.text(found.inputs_digest),
        "context_rounds": dg.MetadataValue.int(past.rounds),
        **page_of(partition.row.id),
        **written_of_one(table),
    }


def _figures(result: RoundScores) -> dict[str, dg.MetadataValue]:
    """What the asset's page plots over challenges; what was not measured is missing and not 0."""
    measure, payouts = result.measure, [each.payout for each in result.scores if each.scored]
    counts = {
        "scored": len(payouts),
        "unscored": len(result.scores) - len(payouts),
        "paid": sum(payout > 0 for payout in payouts),
    }
    figures: dict[str, float] = {}
    if measure is not None:
        figures |= {"consensus_score": measure.consensus_score, "consensus_mean": measure.consensus_mean}
    if payouts:
        figures |= {"payout_mean": math.fsum(payouts) / len(payouts), "payout_max": max(payouts)}
    return {
        **{name: dg.MetadataValue.float(round(value, 4)) for name, value in figures.items()},
        "consensus_reached": dg.MetadataValue.bool(bool(measure and measure.consensus_reached)),
        **{name: dg.MetadataValue.int(count) for name, count in counts.items()},
    }


def _latency(partition: Partition) -> dict[str, dg.MetadataValue]:
    """Seconds from acceptance to scores, of the first scoring: one that is done again is not late."""
    if STATE_ORDER[partition.row.state] >= STATE_ORDER[ChallengeState.SCORED]:
        return {}
    since_s = (datetime.now(UTC) - partition.row.received_at).total_seconds()
    return {"accepted_to_scored_s": dg.MetadataValue.float(round(since_s, 3))}


def _with_uids(scores: pl.DataFrame, responses: Sequence[Response]) -> pl.DataFrame:
    """The scores, best first, with the uid by which heatmap and narrative call a miner."""
    uids = {response.hotkey: response.uid for response in responses}
    return scores.with_columns(uid=pl.col("hotkey").replace_strict(uids)).sort("payout", descending=True)

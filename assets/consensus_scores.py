"""What every answer is worth, and why."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from assets.challenges import OWNERS, challenge_partitions
from assets.embeddings import embeddings
from assets.miner_responses import miner_responses
from assets.scoring_context import scoring_context
from loosh_pipeline.domain import Response
from loosh_pipeline.rescoring.rounds import StoredRound
from loosh_pipeline.rescoring.scoring import score_stored
from loosh_pipeline.scorers import paying_profile, paying_version
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.score_frames import scores_frame
from resources.store import Partition, Store, preview, written

PREVIEW = ["uid", "reason", "relevance", "agreement", "share", "payout", "quality", "in_consensus"]


@dg.asset(
    description=(
        "What a round says of its answers under the profile that pays: agreement with independent, relevant peers, or "
        "the network's own method. A pure function of the stored responses, vectors and context: scoring again gives "
        "the same rows. Every signal, gate, vote, share and copy behind a payout is a column, and so is what the "
        "network's method finds, whichever pays."
    ),
    deps=[miner_responses, embeddings, scoring_context],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
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
    measure = result.measure
    return result, {
        "profile": dg.MetadataValue.text(result.profile),
        "scorer_version": dg.MetadataValue.text(result.scorer_version),
        "context_digest": dg.MetadataValue.text(result.context_digest),
        "inputs_digest": dg.MetadataValue.text(found.inputs_digest),
        "context_rounds": dg.MetadataValue.int(past.rounds),
        "consensus_score": _figure(measure.consensus_score if measure else None),
        "consensus_mean": _figure(measure.consensus_mean if measure else None),
        "consensus_reached": dg.MetadataValue.bool(bool(measure and measure.consensus_reached)),
        "scored": dg.MetadataValue.int(sum(each.scored for each in result.scores)),
        "unscored": dg.MetadataValue.int(sum(not each.scored for each in result.scores)),
        "paid": dg.MetadataValue.int(sum(each.payout > 0 for each in result.scores)),
        **written(table),
    }


def _figure(value: float | None) -> dg.MetadataValue:
    return dg.MetadataValue.text("not measured") if value is None else dg.MetadataValue.float(round(value, 4))


def _with_uids(scores: pl.DataFrame, responses: Sequence[Response]) -> pl.DataFrame:
    """The scores, best first, with the uid by which heatmap and narrative call a miner."""
    uids = {response.hotkey: response.uid for response in responses}
    return scores.with_columns(uid=pl.col("hotkey").replace_strict(uids)).sort("payout", descending=True)

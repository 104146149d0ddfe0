"""What every answer is worth, and why."""

from datetime import UTC, datetime

import dagster as dg

from assets.challenges import OWNERS, challenge_partitions
from assets.embeddings import embeddings
from assets.miner_responses import miner_responses
from loosh_pipeline.embedding.round_vectors import from_frame, unpack
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.store.frames import scores_frame
from resources.store import Partition, Store, preview, written

PROFILE = RobustProfile()
SCORER_VERSION = scorer_version(PROFILE)
PREVIEW = ["hotkey", "reason", "relevance", "meaning", "coverage", "wording", "agreement", "share", "payout"]


@dg.asset(
    description=(
        "Agreement with independent, relevant peers about what the question does not say itself. A pure function "
        "of the stored responses and vectors: scoring again gives the same rows. Every signal, gate, vote and share "
        "behind a payout is a column."
    ),
    deps=[miner_responses, embeddings],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
    code_version=SCORER_VERSION,
)
def consensus_scores(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    partition = store.partition(context.partition_key)
    result = evaluate(store, partition)
    frame = scores_frame(result, received_at=partition.row.received_at)
    table = store.tables.write("consensus_scores", partition.scores_key(result.scorer_version), frame)
    store.inbox.scored(partition.row.id, datetime.now(UTC))
    return dg.MaterializeResult(
        metadata={
            "scorer_version": result.scorer_version,
            "context_digest": result.context_digest,
            "consensus_score": result.consensus_score if result.consensus_score is not None else "fewer than two",
            "scored": sum(score.scored for score in result.scores),
            "unscored": sum(not score.scored for score in result.scores),
            "paid": sum(score.payout > 0 for score in result.scores),
            "scores": preview(frame.sort("payout", descending=True), PREVIEW),
            **written(table),
        }
    )


def evaluate(store: Store, partition: Partition) -> RoundScores:
    """Score a stored round under the profile that pays."""
    vectors = from_frame(store.tables.read("embeddings", partition.key))
    context = ScoringContext.empty(vectors.vectors.shape[1])
    return score_round(unpack(vectors, store.responses(partition)), context, PROFILE)

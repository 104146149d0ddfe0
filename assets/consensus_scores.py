"""What every answer is worth, and why."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from assets.challenges import OWNERS, challenge_partitions
from assets.embeddings import embeddings
from assets.miner_responses import miner_responses
from loosh_pipeline.domain import Response
from loosh_pipeline.embedding.round_vectors import from_frame, unpack
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profile import RobustProfile, scorer_version
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.scoring.robust import score_round
from loosh_pipeline.store.frames import scores_frame
from resources.store import Partition, Store, preview, written

PROFILE = RobustProfile()
SCORER_VERSION = scorer_version(PROFILE)
PREVIEW = ["uid", "reason", "relevance", "meaning", "coverage", "wording", "agreement", "share", "payout"]


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
            "consensus_score": "fewer than two" if result.consensus_score is None else round(result.consensus_score, 4),
            "scored": sum(score.scored for score in result.scores),
            "unscored": sum(not score.scored for score in result.scores),
            "paid": sum(score.payout > 0 for score in result.scores),
            "scores": preview(_with_uids(frame, store.responses(partition)), PREVIEW),
            **written(table),
        }
    )


def _with_uids(scores: pl.DataFrame, responses: Sequence[Response]) -> pl.DataFrame:
    """The scores, best first, with the uid by which heatmap and narrative call a miner."""
    uids = {response.hotkey: response.uid for response in responses}
    return scores.with_columns(uid=pl.col("hotkey").replace_strict(uids)).sort("payout", descending=True)


def evaluate(store: Store, partition: Partition) -> RoundScores:
    """Score a stored round under the profile that pays."""
    vectors = from_frame(store.tables.read("embeddings", partition.key))
    context = ScoringContext.empty(vectors.vectors.shape[1])
    return score_round(unpack(vectors, store.responses(partition)), context, PROFILE)

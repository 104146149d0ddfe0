"""What the network is told of a round."""

from datetime import UTC, datetime

import dagster as dg

from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.delivery import deliver_due, encode_batch, evaluation_of
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from loosh_pipeline.wire.batch import build_response_batch
from loosh_pipeline.wire.challenge_api_client import ChallengeApi
from loosh_pipeline.wire.crypto import Signer
from resources.store import Store


def now() -> datetime:
    return datetime.now(UTC)


@dg.asset(
    description=(
        "The response batch of a round: kept in the outbox, then sent to the Challenge API as soon as scores exist. "
        "What cannot be delivered now is tried again until it is."
    ),
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "http", "sqlite"},
    code_version="1",
    op_tags={"dagster/priority": "10"},  # before heatmaps and narratives, which must not delay it
)
def submissions(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    challenge_api: dg.ResourceParam[ChallengeApi],
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    partition = store.partition(context.partition_key)
    responses = store.responses(partition)
    evaluation = evaluation_of(store.scores(partition, paying_profile(get_settings())))
    batch = build_response_batch(partition.challenge, responses, evaluation, signer.ss58_address)
    kept = store.outbox.enqueue(partition.row.id, encode_batch(batch), now())
    tally = deliver_due(store.outbox, challenge_api, now, partition.row.id)
    return dg.MaterializeResult(
        metadata={
            "kept": "now" if kept else "by an earlier run; the first batch stands",
            "responses": len(batch["responses"]),
            "best_miner": evaluation.best_miner or "nobody was paid",
            **{f"delivery_{status.value}": count for status, count in tally.items()},
        }
    )

"""What the network is told of a round."""

from datetime import UTC, datetime

import dagster as dg

from assets.about import DECIDES_NOTHING, REACHES, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.delivery import deliver_due, evaluation_of, result_of
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import Present, get_settings
from loosh_pipeline.wire.challenge_api_client import ChallengeApi
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import Signer
from resources.store import Partition, Store


def now() -> datetime:
    return datetime.now(UTC)


@dg.asset(
    description=(
        "What the network is told of a round: kept in the outbox as the challenge becomes scored, then sent to the "
        "Challenge API at once. What cannot be delivered now is tried again by `outbox_sensor` until it is. One result "
        "a challenge, told once; the outbox lies in the database `validator.db`."
    ),
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "http", "sqlite"},
    tags=DECIDES_NOTHING | {REACHES: "challenge-api"},
    code_version="2",
    op_tags={"dagster/priority": "10"},  # before heatmaps and narratives, which must not delay it
)
def submissions(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    challenge_api: dg.ResourceParam[ChallengeApi],
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    settings = get_settings()
    partition = store.partition(context.partition_key)
    evaluation = evaluation_of(store.scores(partition, paying_profile(settings)))
    kind, body = result_of(
        partition.challenge,
        store.responses(partition),
        evaluation,
        signer.ss58_address,
        test_mode=settings.test_mode,
    )
    later = settings.present is Present.LATER
    kept = store.outbox.keep_result(partition.row.id, encode_json(body), now(), kind, to_present=later)
    tally = deliver_due(store.outbox, challenge_api, now, partition.row.id)
    return dg.MaterializeResult(
        metadata={
            "kept": "now" if kept else _why_not(partition),
            "told_as": kind.value,
            "responses": len(body.get("responses", ("the fastest",))),
            "best_miner": evaluation.best_miner or "nobody was paid",
            **{f"delivery_{status.value}": count for status, count in tally.items()},
            **page_of(partition.row.id),
        }
    )


def _why_not(partition: Partition) -> str:
    if partition.canary:
        return "never: it is a canary, and nobody is told of it"
    return "by an earlier run; the first result stands"

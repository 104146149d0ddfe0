"""What every miner asked answered."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.challenges import OWNERS, challenge_partitions, challenges
from assets.metagraph import metagraph
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.domain import Hotkey, Metagraph
from loosh_pipeline.selection import select_miners
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.frames import responses_frame, responses_of
from loosh_pipeline.wire.crypto import Signer
from resources.miners import Miners
from resources.store import Partition, Store, preview, written

STALE_AFTER_REFRESHES = 12
PREVIEW = ["uid", "hotkey", "outcome", "elapsed_ms", "handshake_ms", "completion_tokens"]
PROMPT_CHARS = 900


@dg.asset(
    description=(
        "One row for every miner asked, answered or not: outcome, text, time at the socket, token usage, digest. "
        "Recorded once: materializing again keeps the first answers, for nobody is asked the same thing twice."
    ),
    deps=[challenges, metagraph],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "http", "parquet"},
    code_version="1",
)
def miner_responses(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    chain: dg.ResourceParam[Chain],
    miners: dg.ResourceParam[Miners],
    signer: dg.ResourceParam[Signer],
) -> dg.MaterializeResult[None]:
    partition = store.partition(context.partition_key)
    context.log_event(_challenge_event(partition))
    if not store.tables.exists("miner_responses", partition.key):
        _ask(partition, store, chain, miners, signer)
    table = store.tables.read("miner_responses", partition.key)
    responses = responses_of(table)
    store.inbox.collected(partition.row.id, responses, datetime.now(UTC))
    outcomes = Counter(response.outcome for response in responses)
    return dg.MaterializeResult(
        metadata={
            "asked": len(responses),
            **{outcome.value: count for outcome, count in sorted(outcomes.items())},
            "responses": preview(table, PREVIEW),
            **written(store.tables.describe("miner_responses", partition.key)),
        }
    )


def _challenge_event(partition: Partition) -> dg.AssetMaterialization:
    """What was asked, on the page of `challenges`: nothing else materializes what the ingress wrote."""
    challenge = partition.challenge
    return dg.AssetMaterialization(
        asset_key=challenges.key,
        partition=partition.row.id,
        metadata={
            "prompt": challenge.prompt[:PROMPT_CHARS],
            "model": challenge.model,
            "max_tokens": challenge.max_tokens,
            "temperature": challenge.temperature,
            "top_p": challenge.top_p,
            "received_at": dg.MetadataValue.timestamp(challenge.received_at),
            "messages": len(challenge.messages or ()),
            "tools": len(challenge.tools or ()),
        },
    )


def _ask(partition: Partition, store: Store, chain: Chain, miners: Miners, signer: Signer) -> None:
    settings = get_settings()
    subnet = _recent_metagraph(store, chain, settings)
    selected = select_miners(
        subnet,
        Hotkey(signer.ss58_address),
        partition.row.id,
        minimum=settings.min_miners,
        maximum=settings.max_miners,
    )
    asked_at = datetime.now(UTC)
    responses = miners.ask(selected, partition.challenge, signer)
    frame = responses_frame(responses, asked_at=asked_at, metagraph_block=subnet.block)
    store.tables.write_once("miner_responses", partition.key, frame)


def _recent_metagraph(store: Store, chain: Chain, settings: Settings) -> Metagraph:
    """The newest stored snapshot; a new one when there is none, or when the schedule has long been failing."""
    newest = store.newest_metagraph()
    limit = timedelta(seconds=STALE_AFTER_REFRESHES * settings.metagraph_refresh_s)
    if newest is not None and datetime.now(UTC) - newest.taken_at <= limit:
        return newest
    fresh = chain.snapshot(settings.netuid)
    store.save_metagraph(fresh)
    return fresh

"""What every miner asked answered."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from assets.about import DECIDES_PAY, REACHES, of_table, page_of
from assets.challenges import OWNERS, challenge_partitions, challenges
from assets.metagraph import metagraph
from assets.miner_availability import miner_availability
from assets.network_view import network_view
from loosh_pipeline.chain.port import Chain
from loosh_pipeline.domain import AvailabilityTable, Hotkey, Metagraph, Neuron, Outcome, Response
from loosh_pipeline.errors import Overtaken
from loosh_pipeline.lock import only_looking
from loosh_pipeline.run_tags import ATTEMPT_TAG
from loosh_pipeline.selection import draw_miners
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.asking_frames import selected_hotkeys, selections_frame
from loosh_pipeline.store.frames import responses_frame, responses_of
from loosh_pipeline.wire.crypto import Signer
from resources.miners import Miners
from resources.store import Partition, Store, preview, written_of_one

STALE_AFTER_REFRESHES = 12
FORGOTTEN_AFTER_REFRESHES = 5
PREVIEW = ["uid", "hotkey", "outcome", "elapsed_ms", "handshake_ms", "completion_tokens"]
PROMPT_CHARS = 900


@dg.asset(
    description=(
        "What the miners that were drawn answered to one challenge, all asked at once. One row for every miner asked, "
        "answered or not: outcome, text, time at the socket, token usage, digest; one file a challenge. "
        "Recorded once: materializing again keeps the first answers, for nobody is asked the same thing twice. "
        "Who was in the draw, with which chances, is in the table `selections`."
    ),
    deps=[challenges, metagraph, miner_availability, network_view],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "http", "parquet"},
    tags=DECIDES_PAY | {REACHES: "miners"},
    metadata=of_table("miner_responses"),
    code_version="2",
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
        _begin(context, store, partition)
        _ask(partition, store, chain, miners, signer)
    table = store.tables.read("miner_responses", partition.key)
    responses = responses_of(table)
    store.inbox.collected(partition.row.id, responses, datetime.now(UTC))
    outcomes = Counter(response.outcome for response in responses)
    return dg.MaterializeResult(
        metadata={
            "asked": len(responses),
            **{outcome.value: count for outcome, count in sorted(outcomes.items())},
            **_figures(responses),
            **_draw_metadata(partition, store),
            "responses": preview(table, PREVIEW),
            **page_of(partition.row.id),
            **written_of_one(store.tables.describe("miner_responses", partition.key)),
        }
    )


def _begin(context: dg.AssetExecutionContext, store: Store, partition: Partition) -> None:
    """Make sure that no other run asks these miners now, whatever died in between. Raises `Overtaken`.

    Beside a running validator, a Dagster that is no part of it asks nobody.
    """
    if reason := only_looking(get_settings().home):
        raise Overtaken(f"challenge {partition.row.id}: {reason}")
    instance, attempt = context.instance, context.run.tags.get(ATTEMPT_TAG)

    def is_over(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    begun_as = None if attempt is None else int(attempt)
    store.runs.begin(partition.row.id, context.run.run_id, begun_as, datetime.now(UTC), is_over)


def _figures(responses: Sequence[Response]) -> dict[str, float]:
    """Part of the miners that answered, and seconds that the slowest of these took."""
    answered = [each for each in responses if each.outcome is Outcome.ANSWERED]
    times_ms = [each.elapsed_ms for each in answered if each.elapsed_ms is not None]
    share = {"answered_share": round(len(answered) / len(responses), 4)} if responses else {}
    return share | ({"slowest_answer_s": round(max(times_ms) / 1000, 3)} if times_ms else {})


def _draw_metadata(partition: Partition, store: Store) -> dict[str, int]:
    """What the draw looked like; nothing for a challenge asked before draws were recorded."""
    if not store.tables.exists("selections", partition.key):
        return {}
    drawn = store.tables.read("selections", partition.key)
    return {
        "candidates": drawn.height,
        "unavailable": drawn.filter(~pl.col("available")).height,
        "sharing_an_endpoint": drawn.filter(pl.col("shared_endpoint")).height,
        "odd_weights": drawn.filter(pl.col("remark") != "").height,
    }


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
            **page_of(partition.row.id),
        },
    )


def _ask(partition: Partition, store: Store, chain: Chain, miners: Miners, signer: Signer) -> None:
    subnet = _recent_metagraph(store, chain, get_settings())
    asked = _selected(partition, store, subnet, Hotkey(signer.ss58_address))
    asked_at = datetime.now(UTC)
    responses = miners.ask(asked, partition.challenge, signer)
    frame = responses_frame(responses, asked_at=asked_at, metagraph_block=subnet.block)
    store.tables.write_once("miner_responses", partition.key, frame)


def _selected(partition: Partition, store: Store, subnet: Metagraph, own_hotkey: Hotkey) -> list[Neuron]:
    """Who is drawn. The draw is on disk before anyone is asked: a run that dies is followed by one that asks the same.

    It is made anew only when too few of those drawn are still registered.
    """
    settings, recorded = get_settings(), store.tables.exists("selections", partition.key)
    if recorded:
        still = _registered(partition, store, subnet)
        if len(still) >= settings.min_miners:
            return still
    draw = draw_miners(
        subnet,
        own_hotkey,
        partition.row.id,
        at=datetime.now(UTC),
        minimum=settings.min_miners,
        maximum=settings.max_miners,
        view=store.newest_network_view(),
        availability=_recent_availability(store, settings),
    )
    write = store.tables.write if recorded else store.tables.write_once
    write("selections", partition.key, selections_frame(draw))
    return _registered(partition, store, subnet)


def _registered(partition: Partition, store: Store, subnet: Metagraph) -> list[Neuron]:
    """Those of the recorded draw that are in the metagraph, where they are now."""
    by_hotkey = subnet.by_hotkey()
    drawn = selected_hotkeys(store.tables.read("selections", partition.key))
    return [by_hotkey[hotkey] for hotkey in drawn if hotkey in by_hotkey]


def _recent_availability(store: Store, settings: Settings) -> AvailabilityTable | None:
    """What miners last said of themselves; None when that is so long ago that all who serve count as there."""
    newest = store.newest_availability()
    limit = timedelta(seconds=FORGOTTEN_AFTER_REFRESHES * settings.availability_refresh_s)
    return newest if newest is not None and datetime.now(UTC) - newest.taken_at <= limit else None


def _recent_metagraph(store: Store, chain: Chain, settings: Settings) -> Metagraph:
    """The newest stored snapshot; a new one when there is none, or when the schedule has long been failing."""
    newest = store.newest_metagraph()
    limit = timedelta(seconds=STALE_AFTER_REFRESHES * settings.metagraph_refresh_s)
    if newest is not None and datetime.now(UTC) - newest.taken_at <= limit:
        return newest
    fresh = chain.snapshot(settings.netuid)
    store.save_metagraph(fresh)
    return fresh

"""The picture of a round."""

from datetime import UTC, datetime

import dagster as dg

from assets.about import DECIDES_NOTHING, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.page_links import of_heatmap
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.tables import file_stem
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.reports import build_heatmap_upload
from resources.store import Partition, Store

MAX_UPLOAD_BYTES = 4 * 1024 * 1024
"""A picture of seven answers has 100 kB."""


@dg.asset(
    description=(
        "The picture of a round, for people: how alike every two answers are, alike ones side by side, beside what "
        "each was paid. A block of bright cells is answers that say the same. A PNG and its Vega-Lite spec a "
        "challenge, which the ingress serves; nothing is decided by it."
    ),
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "altair"},
    tags=DECIDES_NOTHING,
    code_version="1",
)
def heatmaps(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata=draw(store, store.partition(context.partition_key)))


def draw(store: Store, partition: Partition) -> dict[str, dg.MetadataValue]:
    """Draw the picture of a scored round and keep it; returns what the asset's page shows."""
    # Imported here: drawing loads half a second of libraries that no other run and no server needs.
    from loosh_pipeline.heatmap import render_png, round_heatmap, spec_json, specification

    result = store.scores(partition, paying_profile(get_settings()))
    spec = specification(round_heatmap(partition.challenge, result, store.responses(partition)))
    png = render_png(spec)
    store.save_picture(partition.row.id, "png", png)
    store.save_picture(partition.row.id, "json", spec_json(spec).encode())
    upload = _upload(store, partition, png) if get_settings().heatmap_upload else "off: HEATMAP_UPLOAD is false"
    url = of_heatmap(get_settings().ingress_url, partition.row.id)
    return {
        "heatmap": dg.MetadataValue.md(f"![heatmap of the round]({url})"),
        "answers": dg.MetadataValue.int(sum(score.relevance is not None for score in result.scores)),
        "dagster/size_bytes": dg.MetadataValue.int(len(png)),
        "upload": dg.MetadataValue.text(upload),
        **page_of(partition.row.id),
    }


def _upload(store: Store, partition: Partition, png: bytes) -> str:
    """Keep the picture for the Challenge API; the outbox sends it when no result waits. Returns what was done."""
    if len(png) > MAX_UPLOAD_BYTES:
        return f"not uploaded: {len(png)} bytes, at most {MAX_UPLOAD_BYTES} are"
    if partition.canary:
        return "never: it is a canary"
    body = build_heatmap_upload(partition.row.id, f"{file_stem(partition.row.id)}.png", png)
    kept = store.outbox.keep_heatmap(partition.row.id, encode_json(body), datetime.now(UTC))
    return "in the outbox" if kept else "by an earlier run; the first picture stands"

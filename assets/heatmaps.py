"""The picture of a round."""

from urllib.parse import quote

import dagster as dg

from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from resources.store import Store


@dg.asset(
    description="How alike the answers are, clustered, beside what each was paid: a PNG and its Vega-Lite spec.",
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "altair"},
    code_version="1",
)
def heatmaps(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    # Imported here: drawing loads half a second of libraries that no other run and no server needs.
    from loosh_pipeline.heatmap import render_png, round_heatmap, spec_json

    partition = store.partition(context.partition_key)
    result = store.scores(partition, paying_profile(get_settings()))
    chart = round_heatmap(partition.challenge, result, store.responses(partition))
    png = render_png(chart)
    path = store.save_picture(partition.row.id, "png", png)
    store.save_picture(partition.row.id, "json", spec_json(chart).encode())
    url = f"{get_settings().ingress_url}/heatmaps/{quote(partition.row.id, safe='')}"
    return dg.MaterializeResult(
        metadata={
            "heatmap": dg.MetadataValue.md(f"![heatmap of the round]({url}.png)"),
            "picture": dg.MetadataValue.url(f"{url}.png"),
            "spec": dg.MetadataValue.url(f"{url}.json"),
            "path": dg.MetadataValue.path(path),
            "answers": sum(score.relevance is not None for score in result.scores),
            "size_bytes": len(png),
        }
    )

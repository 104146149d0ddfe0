"""What happened in a round, in words."""

import dagster as dg
import polars as pl

from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from resources.llm import Narrator
from resources.store import Partition, Store, written


@dg.asset(
    description="A short text for people, composed from the stored figures; phrased by a language model if one is set.",
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "openai", "parquet"},
    code_version="1",
)
def narratives(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], llm: dg.ResourceParam[Narrator]
) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata=tell(store, llm, store.partition(context.partition_key)))


def tell(store: Store, llm: Narrator, partition: Partition) -> dict[str, dg.MetadataValue]:
    """Say in words what happened in a scored round and keep it; returns what the asset's page shows."""
    scores = store.scores(partition, paying_profile(get_settings()))
    narrative = llm.narrate(partition.challenge, scores, store.responses(partition))
    frame = pl.DataFrame([{"challenge_id": partition.row.id, "source": narrative.source, "text": narrative.text}])
    table = store.tables.write("narratives", partition.key, frame)
    return {
        "narrative": dg.MetadataValue.md(narrative.text),
        "source": dg.MetadataValue.text(narrative.source),
        **written(table),
    }

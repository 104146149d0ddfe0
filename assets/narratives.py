"""What happened in a round, in words."""

import dagster as dg
import polars as pl

from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from resources.llm import Narrator
from resources.store import Store, written


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
    partition = store.partition(context.partition_key)
    scores = store.scores(partition, paying_profile(get_settings()))
    narrative = llm.narrate(partition.challenge, scores, store.responses(partition))
    frame = pl.DataFrame([{"challenge_id": partition.row.id, "source": narrative.source, "text": narrative.text}])
    table = store.tables.write("narratives", partition.key, frame)
    return dg.MaterializeResult(
        metadata={
            "narrative": dg.MetadataValue.md(narrative.text),
            "source": narrative.source,
            **written(table),
        }
    )

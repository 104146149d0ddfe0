"""What happened in a round, in words."""

from dataclasses import asdict

import dagster as dg

from assets.about import DECIDES_NOTHING, of_table, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores
from loosh_pipeline.narrative import Narrative, RoundNarrator
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.narrative_frames import narrative_frame
from resources.llm import Narrator
from resources.store import Partition, Store, written_of_one


@dg.asset(
    description=(
        "What happened in a round, in words, for people: composed from the stored figures, and phrased by a language "
        "model if one is set and its text agrees with the figures. One row a challenge, with both texts and what the "
        "model took. Nothing is decided by it."
    ),
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "openai", "parquet"},
    tags=DECIDES_NOTHING,
    metadata=of_table("narratives"),
    code_version="2",
)
def narratives(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], llm: dg.ResourceParam[Narrator]
) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata=tell(store, llm, store.partition(context.partition_key)))


def tell(store: Store, llm: Narrator, partition: Partition) -> dict[str, dg.MetadataValue]:
    """Say in words what happened in a scored round and keep it; returns what the asset's page shows."""
    scores = store.scores(partition, paying_profile(get_settings()))
    # Nobody outside is told of a canary, a model's provider neither.
    narrator: Narrator = RoundNarrator(None) if partition.canary else llm
    narrative = narrator.narrate(partition.challenge, scores, store.responses(partition))
    table = store.tables.write("narratives", partition.key, narrative_frame(partition.row.id, narrative))
    return {
        "narrative": dg.MetadataValue.md(narrative.text),
        "source": dg.MetadataValue.text(narrative.source),
        **_taken(narrative),
        **page_of(partition.row.id),
        **written_of_one(table),
    }


def _taken(narrative: Narrative) -> dict[str, dg.MetadataValue]:
    """Beside a model's text the composed one, and what the model took."""
    said = narrative.generation
    if said is None:
        return {}
    counts = {name: dg.MetadataValue.int(count) for name, count in asdict(said.usage).items() if count is not None}
    return {
        "composed": dg.MetadataValue.md(narrative.composed or narrative.text),
        "provider": dg.MetadataValue.text(narrative.provider or ""),
        "model": dg.MetadataValue.text(said.model),
        "elapsed_ms": dg.MetadataValue.float(round(said.elapsed_ms, 1)),
        **counts,
    }

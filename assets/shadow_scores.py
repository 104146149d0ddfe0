"""The same rounds under the profiles that do not pay."""

import dagster as dg

from assets.about import DECIDES_NOTHING, of_table, page_of
from assets.challenges import OWNERS, challenge_partitions
from assets.consensus_scores import consensus_scores, evaluate_and_keep
from loosh_pipeline.scorers import shadow_profiles, shadow_versions
from loosh_pipeline.settings import get_settings
from loosh_pipeline.table_metadata import OF_PARTITION
from resources.store import Store


@dg.asset(
    description=(
        "Scores under every other profile of SCORING_PROFILES, beside those that pay and in the same table. They "
        "decide nothing; they tell what paying otherwise would change. A row is one miner asked, in one file for each "
        "challenge and scorer version."
    ),
    deps=[consensus_scores],
    partitions_def=challenge_partitions,
    group_name="evaluation",
    owners=OWNERS,
    kinds={"python", "numpy", "parquet"},
    tags=DECIDES_NOTHING,
    metadata=of_table("consensus_scores"),
    code_version=f"2 {shadow_versions(get_settings())}",
)
def shadow_scores(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    partition = store.partition(context.partition_key)
    found, rows = {}, 0
    for profile in shadow_profiles(get_settings()):
        result, _ = evaluate_and_keep(store, partition, profile)
        found[profile.name] = result.scorer_version
        rows += len(result.scores)
    shown = ", ".join(f"{name} ({version})" for name, version in found.items())
    why = "none: SCORING_PROFILES names only the one that pays"
    return dg.MaterializeResult(metadata={"profiles": shown or why, OF_PARTITION: rows, **page_of(partition.row.id)})

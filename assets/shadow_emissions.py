"""What each miner would have earned under the profiles that do not pay, and what paying unlike them costs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl
from dagster_duckdb import DuckDBResource

from assets.about import DECIDES_NOTHING, of_table, page_of_miners
from assets.challenges import OWNERS
from assets.emissions import emissions, newest_emissions
from assets.shadow_scores import shadow_scores
from loosh_pipeline.domain import Emission, Hotkey
from loosh_pipeline.paying import earned_over
from loosh_pipeline.proposing import rule_of
from loosh_pipeline.scorers import clipping_warning, paying_profile, shadow_profiles, shadow_versions
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.frames import emissions_frame
from resources.store import Store, run_key, written


@dg.asset(
    description=(
        "What each miner would have earned under every other profile of SCORING_PROFILES, and how much of the weights "
        "would be clipped if the other validators paid by it. A row is one miner under one of them. It decides "
        "nothing, and no weight waits for it."
    ),
    deps=[emissions, shadow_scores],
    group_name="weights",
    owners=OWNERS,
    kinds={"duckdb", "parquet"},
    tags=DECIDES_NOTHING,
    metadata=of_table("shadow_emissions"),
    code_version=f"2 {shadow_versions(get_settings())}",
)
def shadow_emissions(
    context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], duckdb: DuckDBResource
) -> dg.MaterializeResult[None]:
    settings, now = get_settings(), datetime.now(UTC)
    profile, paid, rule = paying_profile(settings), _weights(newest_emissions(store)), rule_of(settings)
    frames, costs, lookback_h = [], [], settings.emissions_lookback_h
    for shadow in shadow_profiles(settings):
        with duckdb.get_connection() as connection:
            unpaid = earned_over(store.tables, connection, shadow, rule, now, lookback_h)
        frames.append(emissions_frame(unpaid.emissions, shadow.name, unpaid.terms.rounds, unpaid.answered))
        costs.append(clipping_warning(paid, profile.name, _weights(unpaid.emissions), shadow.name))
    for line in costs:
        context.log.warning(line)
    about: dict[str, Any] = {
        "cost": "; ".join(costs) or "none: SCORING_PROFILES names only the one that pays",
        **page_of_miners(),
    }
    if not frames:
        return dg.MaterializeResult(metadata=about)
    table = store.tables.write("shadow_emissions", run_key(now, context.run.run_id), pl.concat(frames))
    return dg.MaterializeResult(metadata={**about, **written(table)})


def _weights(emissions: Sequence[Emission]) -> dict[Hotkey, float]:
    return {each.hotkey: each.weight for each in emissions}

"""Who answers rightly what has a right answer."""

from datetime import UTC, datetime

import dagster as dg

from assets.about import DECIDES_NOTHING, of_table
from assets.challenges import OWNERS
from assets.emissions import emissions
from loosh_pipeline.store.canary_accuracy import CANARY_ACCURACY, LOOKBACK, MOST, accuracy_frame, measured
from resources.store import Store, preview, run_key, written

PREVIEW = ["hotkey", "asked", "answered", "right", "accuracy", "low", "high"]


@dg.asset(
    description=(
        "How many of the canaries of a week each miner was asked, answered, and answered rightly, with the interval "
        "in which its true share lies. A row is one miner. It decides nothing: canaries are never paid, and nobody "
        "outside is told of them."
    ),
    deps=[emissions],
    group_name="weights",
    owners=OWNERS,
    kinds={"python", "parquet"},
    tags=DECIDES_NOTHING,
    metadata=of_table("canary_accuracy"),
    code_version="1",
    op_tags={"dagster/priority": "-10"},  # after weights, which must not wait for it
)
def canary_accuracy(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult[None]:
    now = datetime.now(UTC)
    kept = store.canaries.newest(now - LOOKBACK, MOST)
    frame = accuracy_frame(measured(store.tables, kept), now)
    table = store.tables.write(CANARY_ACCURACY, run_key(now, context.run.run_id), frame)
    shown = preview(frame.sort("high", "hotkey"), PREVIEW)
    return dg.MaterializeResult(
        metadata={"canaries": len(kept), "miners": frame.height, "accuracy": shown, **written(table)}
    )
